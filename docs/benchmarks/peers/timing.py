"""What the time_*.py scripts share. Each runs in the environment of its own program."""

import json
import time
from collections.abc import Callable, Sequence
from typing import TextIO

import cv2


def report(
    predict: Callable, files: Sequence[str], repeats: int, started: float, output: TextIO
) -> None:
    """Predict each image some times, and print what it took as JSON.

    Args:
        predict: takes pixels as OpenCV reads them, and returns the number of objects, or None.
        started: seconds since 1970, when the program was started.
    """
    found: dict = {"cold": None, "images": []}
    for file in files:
        pixels = cv2.imread(file, cv2.IMREAD_UNCHANGED)
        count = predict(pixels)
        found["cold"] = found["cold"] or time.time() - started
        cpu, wall = [], []
        for _ in range(repeats):
            before = time.process_time(), time.perf_counter()
            count = predict(pixels)
            cpu.append(time.process_time() - before[0])
            wall.append(time.perf_counter() - before[1])
        found["images"].append({"objects": count, "cpu": cpu, "wall": wall, "peak": peak()})
    print(json.dumps(found), file=output)


def peak() -> float:
    """Peak memory of this program, MiB. Not getrusage's, which begins with that of the parent."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
