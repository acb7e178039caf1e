#!/usr/bin/env python
"""Measure predicting with the shipped model, and with StarDist, on the same images: speed.md.

    python docs/benchmarks/speed.py
    python docs/benchmarks/speed.py --stardist .venv-stardist/bin/python output/peers/stardist/seed0

StarDist has an environment of its own, and a model that peers/stardist_dsb2018.py trained. Each
program runs in a process of its own with one thread, one after the other. Writes speed.json and
speed.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskrcnnpp.benchmark.record import origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.convert.synthetic import generate_nuclei
from maskrcnnpp.errors import UserError, exit_on_user_error
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.models import DEFAULT, find_model, shipped

RECORD, PAGE = record_files(__file__)
PEERS = Path(__file__).with_name("peers")
SIDES = (512, 1024, 4096)
TILE, NUCLEI = 512, 33  # 132 in a megapixel


def draw(folder: Path) -> list[str]:
    """Images of each side, of the same squares of synthetic nuclei."""
    square = generate_nuclei(0, TILE, TILE, NUCLEI)[0]
    files = []
    for side in SIDES:
        path = str(folder / f"{side}.png")
        cv2.imwrite(path, np.tile(square, (side // TILE, side // TILE)))
        files.append(path)
    return files


def run(command: Sequence[str], arguments: Sequence[str]) -> dict[str, Any]:
    """What a script of peers/ prints.

    Raises:
        UserError: it ended with an error.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    words = [*command, str(time.time()), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"{command[1]} failed: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(repeats: int, stardist: Sequence[str] | None) -> dict[str, Any]:
    ours = [sys.executable, str(PEERS / "time_maskrcnnpp.py")]
    titles = {name: find_model(name).title for name in sorted(shipped())}
    programs = {f"{title}, ONNX": (ours, ["onnx", name]) for name, title in titles.items()}
    programs[f"{titles[DEFAULT]}, PyTorch"] = (ours, ["torch", DEFAULT])
    if stardist:
        python, model = stardist
        programs["StarDist"] = ([python, str(PEERS / "time_stardist.py")], [model])
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder))
        found = {
            name: run(command, [*arguments, str(repeats), *files])
            for name, (command, arguments) in programs.items()
        }
    return {"programs": found, "sides": SIDES, "repeats": repeats, **origin("onnxruntime")}


def page(found: Mapping[str, Any]) -> str:
    lines = [
        "# Speed",
        "",
        f"Synthetic nuclei, {NUCLEI * 4} in a megapixel; one thread; tiles of 1024 pixels. Seconds",
        f"are for a megapixel, medians of {found['repeats']} repeats: CPU time, which other work",
        "of the machine changes little, and in brackets on the clock. Memory is the peak of the",
        "process. Cold start is from the start of the program to the first label image, of 512x512",
        "pixels. StarDist's model is one that [its script](peers/stardist_dsb2018.py) trained; for",
        "how long changes its time little. Written by `python docs/benchmarks/speed.py`.",
        "",
    ]
    rows = []
    for name, about in found["programs"].items():
        cells = []
        for side, of_image in zip(found["sides"], about["images"]):
            size = side * side / 2**20
            cpu, wall = (statistics.median(of_image[key]) / size for key in ("cpu", "wall"))
            cells += [f"{cpu:.2f} ({wall:.2f})", str(of_image["objects"])]
        peak = max(of_image["peak"] for of_image in about["images"])
        rows.append([name, *cells, f"{peak:.0f}", f"{about['cold']:.1f}"])
    headers = [""]
    for side in found["sides"]:
        headers += [f"{side}x{side}, s", "objects"]
    lines += [markdown_table([*headers, "memory, MiB", "cold start, s"], rows), ""]
    return page_text(lines, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stardist", nargs=2, metavar=("PYTHON", "FOLDER"))
    parser.add_argument("--page-only", action="store_true", help="only draw the page again")
    args = parser.parse_args()
    if not args.page_only:
        write_json(RECORD, measure(args.repeats, args.stardist), indent=1)
    write_text(PAGE, page(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
