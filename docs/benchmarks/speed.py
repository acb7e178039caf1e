#!/usr/bin/env python
"""Measure predicting with the shipped models, StarDist and Cellpose on the same images: speed.md.

    python docs/benchmarks/speed.py
    python docs/benchmarks/speed.py --cellpose .venv-cellpose/bin/python \\
        --stardist .venv-stardist/bin/python output/peers/stardist/seed0

StarDist has an environment of its own, and a model that peers/stardist_dsb2018.py trained; Cellpose
has one with `pip install 'cellpose<4' opencv-python-headless`. Each program runs in a process of
its own with one thread, one after the other. Writes speed.json and speed.md beside this file.
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
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskrcnnpp.benchmark.record import origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.convert.synthetic import generate_nuclei
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.errors import UserError, exit_on_user_error
from maskrcnnpp.evaluation.coco_metrics import coco_average_precision
from maskrcnnpp.evaluation.instance_metrics import best_score_threshold, count_images, summarize
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.models import DEFAULT, find_model, shipped

RECORD, PAGE = record_files(__file__)
PEERS = Path(__file__).with_name("peers")
MODELS = Path(__file__).resolve().parents[1] / "models"
METRICS = {"accuracy@0.50": "TP/(TP+FP+FN) at .5", "pq": "PQ", "dsb_score": "DSB score"}
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


def measure(repeats: int, stardist: Sequence[str] | None, cellpose: str | None) -> dict[str, Any]:
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
        if cellpose:  # the largest image would take a quarter of an hour
            command = [cellpose, str(PEERS / "time_cellpose.py")]
            found["Cellpose 3, network alone"] = run(command, ["1", *files[:2]])
    accuracy = {title: of_model(name) for name, title in titles.items()}
    if stardist:
        accuracy["StarDist"] = of_stardist(Path(stardist[1]))
    return {
        "programs": found,
        "accuracy": accuracy,
        "sides": SIDES,
        "repeats": repeats,
        **origin("onnxruntime"),
    }


def of_model(name: str) -> dict[str, Any]:
    """Accuracy of a shipped model, of the record of its page."""
    record = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
    metrics = {key: record[key] for key in METRICS}
    return {"AP": record["segm"]["AP"], **metrics, "training": find_model(name).card["data"]}


def of_stardist(folder: Path) -> dict[str, Any]:
    """Accuracy on dsb2018_test; the score threshold is the best for dsb2018_val's DSB score."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    truths, results = {}, {}
    for split in ("val", "test"):
        file = datasets_root() / "dsb2018" / "annotations" / f"instances_{split}.json"
        truths[split] = load_coco_truth(file)
        results[split] = json.loads((folder / f"dsb2018_{split}.json").read_text(encoding="utf-8"))
    overlaps = {k: find_overlaps(truths[k], results[k], max_dets=5000) for k in truths}
    counts = count_images(overlaps["test"], best_score_threshold(overlaps["val"]))
    ap = coco_average_precision(truths["test"], results["test"], "segm", 500, (160, 470))["AP"]
    metrics = {key: summarize(counts)[key] for key in METRICS}
    steps = f"{run['steps']} steps, {run['minutes']:.0f} CPU-minutes, seed {run['seed']}"
    return {"AP": ap, **metrics, "training": f"train images of DSB2018, {steps}"}


def page(found: Mapping[str, Any]) -> str:
    lines = [
        "# Speed",
        "",
        f"Synthetic nuclei, {NUCLEI * 4} in a megapixel; one thread; tiles of 1024 pixels. Seconds",
        f"are for a megapixel, medians of {found['repeats']} repeats: CPU time, which other work",
        "of the machine changes little, and in brackets on the clock. Memory is the peak of the",
        "process. Cold start is from the start of the program to the first label image, of 512x512",
        "pixels. StarDist's model is one that [its script](peers/stardist_dsb2018.py) trained.",
        "Cellpose's network has random weights, in its own tiles of 224 pixels, run once; what",
        "follows the network is not counted. Stock Mask R-CNN is on the",
        "[cost page](depth_cost.md). Written by `python docs/benchmarks/speed.py`.",
        "",
    ]
    rows = []
    for name, about in found["programs"].items():
        cells = []
        for side, of_image in zip_longest(found["sides"], about["images"]):
            if of_image is None:
                cells += ["", ""]
                continue
            size = side * side / 2**20
            cpu, wall = (statistics.median(of_image[key]) / size for key in ("cpu", "wall"))
            objects = of_image["objects"]
            cells += [f"{cpu:.2f} ({wall:.2f})", "" if objects is None else str(objects)]
        peak = max(of_image["peak"] for of_image in about["images"])
        rows.append([name, *cells, f"{peak:.0f}", f"{about['cold']:.1f}"])
    headers = [""]
    for side in found["sides"]:
        headers += [f"{side}x{side}, s", "objects"]
    lines += [markdown_table([*headers, "memory, MiB", "cold start, s"], rows), ""]
    lines += [
        "What they find on dsb2018_test. They were not trained alike: the shipped models saw more",
        "images, for longer, and start from ImageNet weights. StarDist's own example trains 40,000",
        "steps, which has not been measured here.",
        "",
    ]
    rows = [
        [name, about["training"], f"{about['AP']:.1f}", *(f"{about[key]:.3f}" for key in METRICS)]
        for name, about in found["accuracy"].items()
    ]
    lines += [markdown_table(["", "trained on", "mask AP", *METRICS.values()], rows, words=2), ""]
    return page_text(lines, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stardist", nargs=2, metavar=("PYTHON", "FOLDER"))
    parser.add_argument("--cellpose", metavar="PYTHON")
    parser.add_argument("--page-only", action="store_true", help="only draw the page again")
    args = parser.parse_args()
    if not args.page_only:
        write_json(RECORD, measure(args.repeats, args.stardist, args.cellpose), indent=1)
    write_text(PAGE, page(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
