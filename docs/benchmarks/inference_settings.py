#!/usr/bin/env python
"""Tune the settings of prediction on dsb2018_val: score and mask threshold, NMS, dilation.

    python docs/benchmarks/inference_settings.py --run-dir OUTPUT_DIR

OUTPUT_DIR is a training on dsb2018_train. Its table in inference_settings.json and
inference_settings.md beside this file takes the place of the one with the same config. What is
chosen goes into the card of a model, as `options`.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from ablations import arguments  # beside this file
from scipy import ndimage
from tabulate import tabulate
from tqdm import tqdm

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.tables import made_with
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.evaluation import load_coco_truth
from maskrcnnpp.evaluation.coco_metrics import coco_average_precision
from maskrcnnpp.evaluation.instance_metrics import best_score_threshold, count_images, summarize
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.images import open_image
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.overlaps import resolve_overlaps
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.models import DEFAULT, find_model

HERE = Path(__file__).parent
RECORD, PAGE = HERE / "inference_settings.json", HERE / "inference_settings.md"
LOWEST = 0.05  # score
#: Score threshold of the shipped model.
CHOSEN = find_model(DEFAULT).options["score_threshold"]
#: What differs from Detectron2's settings, which are the first row.
SETTINGS: list[dict[str, Any]] = [
    {},
    {"nms": 0.3},
    *({"mask_threshold": threshold} for threshold in (0.45, 0.4, 0.35)),
    {"dilation": 1},
    {"scales": [1.5]},
    {"scales": [1.0, 1.5]},
    {"flips": True},
]
USUAL = {"nms": 0.5, "mask_threshold": 0.5, "dilation": 0, "scales": [1.0], "flips": False}
METRICS = {"dsb_score": "DSB score", "accuracy@0.50": "TP/(TP+FP+FN) at .5", "pq": "PQ"}

INTRODUCTION = f"""\
# Settings of prediction, tuned on validation images

A model that was trained on dsb2018_train predicts dsb2018_val with each setting. Overlapping masks
are resolved, as in `maskrcnnpp predict`; the score threshold is the one with the best DSB score.
The rows at 0.50 are what a default of 0.5 gives. The shipped model has {CHOSEN}: the DSB score
is nearly the best there, and fewer objects are missed. Mask AP is of all objects from {LOWEST} on.
Mirrored images (`--flips`) take eight times the time, scales 1 and 1.5 three times. To repeat
a table, check out its commit: configs/models/nuclei.yaml was nuclei-fast.yaml until nuclei 2.0.
"""


def predict(
    run_dir: Path, truth: dict[str, Any], root: Path, setting: dict[str, Any]
) -> list[dict]:
    """COCO results with one setting."""
    dilation = setting["dilation"]
    predictor = Predictor.load(
        run_dir / "config.yaml",
        run_dir / "model_final.pth",
        opts=["MODEL.ROI_HEADS.NMS_THRESH_TEST", str(setting["nms"])],
        score_threshold=LOWEST,
        mask_threshold=setting["mask_threshold"],
        scales=setting["scales"],
        flips=setting["flips"],
        overlaps="keep" if dilation else "resolve",
        progress=False,
    )
    results = []
    for image in tqdm(truth["images"], desc=str(setting)):
        with open_image(root / image["file_name"]) as raster:
            raster.choose(range(3))
            objects = predictor(raster)
            if dilation:
                size = (raster.height, raster.width)
                grown = [dilated(entry, dilation, *size) for entry in objects]
                objects = Objects(resolve_overlaps(grown), *size)
            results += objects.to_coco(image["id"])
    return results


def dilated(entry: Detection, pixels: int, height: int, width: int) -> Detection:
    """The object, grown on all sides inside the image."""
    top, left = max(0, entry.top - pixels), max(0, entry.left - pixels)
    bottom, right = min(height, entry.bottom + pixels), min(width, entry.right + pixels)
    mask = np.zeros((bottom - top, right - left), bool)
    rows = slice(entry.top - top, entry.bottom - top)
    mask[rows, entry.left - left : entry.right - left] = entry.pixels
    mask = ndimage.binary_dilation(mask, iterations=pixels)
    return Detection(entry.box, entry.score, entry.category, mask, top, left)


def measure(run_dir: Path, truth: dict[str, Any], root: Path) -> list[dict[str, Any]]:
    rows = []
    for setting in SETTINGS:
        results = predict(run_dir, truth, root, USUAL | setting)
        ap = coco_average_precision(truth, results, "segm", 500, (160, 470))["AP"]
        overlaps = find_overlaps(truth, results, max_dets=5000)
        best = best_score_threshold(overlaps)
        for threshold in dict.fromkeys((best,) if setting else (best, CHOSEN, 0.5)):
            found = summarize(count_images(overlaps, threshold))
            row = {**USUAL, **setting, "score": threshold, "AP": ap}
            rows.append({**row, **{name: found[name] for name in METRICS}})
    return rows


def page(records: list[dict[str, Any]]) -> str:
    headers = ["NMS", "mask threshold", "dilation, px", "scales", "flips", "score threshold"]
    headers += [*METRICS.values(), "mask AP"]
    parts = [INTRODUCTION]
    for record in records:
        rows = [
            [row["nms"], row["mask_threshold"], row["dilation"]]
            + [" ".join(map(str, row["scales"])), "yes" if row["flips"] else ""]
            + [f"{row['score']:.2f}", *(f"{row[name]:.3f}" for name in METRICS), f"{row['AP']:.1f}"]
            for row in record["rows"]
        ]
        parts += [f"## {record['config']}\n"]
        parts += [tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)]
        parts += [f"\nModel: {record['model']}.\n"]
        parts += [made_with(key, record[key]) for key in ("machine", "versions")]
        parts += [""]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run-dir", type=Path, help="default: only draw the page again")
    args = parser.parse_args()
    records = json.loads(RECORD.read_text(encoding="utf-8"))
    if args.run_dir:
        folder = Path(datasets_root()) / "dsb2018"
        truth = load_coco_truth(folder / "annotations" / "instances_val.json")
        cfg = build_config(str(args.run_dir / "config.yaml"))
        start = json.loads((args.run_dir / "runs.json").read_text(encoding="utf-8"))[0]
        given = arguments(start["command"])
        commit = start["versions"]["maskrcnnpp"].split()[-1]
        record = {
            "config": shlex.split(given)[1],
            "rows": measure(args.run_dir, truth, folder / "images"),
            "model": f"{cfg.SOLVER.MAX_ITER} iterations, seed {cfg.SEED}, of commit {commit}, with "
            f"the arguments `{given}`",
            "machine": machine(),
            "versions": versions(),
        }
        others = [entry for entry in records if entry["config"] != record["config"]]
        records = [*others, record]
        write_json(RECORD, records, indent=1)
    write_text(PAGE, page(records))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
