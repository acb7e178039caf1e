#!/usr/bin/env python
"""Train without one kind of image, and predict that kind: how far does a model reach?

    python docs/benchmarks/kinds.py --run-dir output/kinds --jobs 2

DSB2018 has fluorescence, tissue stained with H&E, purple nuclei on white, and grey tissue. For each
of them stock Mask R-CNN and Mask R-CNN++ of configs/cpu are trained on the other kinds of train and
val, with the augmentation of configs/models/nuclei.yaml, and judged on all images of the kind.
The same command goes on where it stopped. Writes kinds.json and kinds.md beside this file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp import cli
from maskrcnnpp.benchmark.record import page_text, record_files
from maskrcnnpp.benchmark.results import RESULTS_FILE, by_arm, datasets, load, of_seeds
from maskrcnnpp.benchmark.tables import markdown_table, mean_and_sd
from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.convert.splits import classify_stain
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.images.display import read_rgb

RECORD, PAGE = record_files(__file__)
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ARMS = ("cpu/mask_rcnn_lite0_FPN.yaml", "cpu/maskrcnnpp_lite0_nested_fpn.yaml")
RECIPE = "models/nuclei.yaml"
KINDS = {
    "fluorescence": "fluorescence",
    "h_and_e": "tissue, H&E",
    "purple_on_white": "purple on white",
    "grey_tissue": "grey tissue",
}
# of images with colour, the median of whose pixels is background or tissue; that of H&E of DSB2018
# is at most 187, that of purple on white at least 197
_WHITE = 192
METRICS = {
    "TP/(TP+FP+FN) at .5": ("shown", "accuracy@0.50", 3),
    "F1": ("shown", "f1", 3),
    "PQ": ("shown", "pq", 3),
    "DSB score": ("shown", "dsb_score", 3),
    "mask AP": ("segm", "AP", 1),
}


def kind_of(pixels: np.ndarray) -> str:
    """A key of :data:`KINDS`, of an image (H, W, 3), uint8."""
    stain = classify_stain(pixels)
    if stain == "histology":
        return "purple_on_white" if np.median(pixels) >= _WHITE else "h_and_e"
    return "grey_tissue" if stain == "brightfield" else "fluorescence"


def write_folds(folder: Path) -> None:
    """``KIND/{train,tune,test}.json``: to train on, to tune the score on, and of the kind alone."""
    data = Path(datasets_root()) / "dsb2018"
    parts = {
        name: load_coco_truth(data / "annotations" / f"instances_{name}.json")
        for name in ("train", "val", "test")
    }
    kinds = {
        (name, image["id"]): kind_of(read_rgb(data / "images" / image["file_name"]))
        for name, truth in parts.items()
        for image in truth["images"]
    }
    for kind in KINDS:
        known = {name for name, found in kinds.items() if found != kind}
        folds = {
            "train": [name for name in known if name[0] != "test"],
            "tune": [name for name in known if name[0] == "val"],
            "test": [name for name, found in kinds.items() if found == kind],
        }
        for fold, members in folds.items():
            write_json(folder / kind / f"{fold}.json", chosen(parts, set(members)))


def chosen(parts: Mapping[str, dict], members: set[tuple[str, int]]) -> dict[str, Any]:
    """One COCO file of images of several, with ids of their own."""
    images, annotations = [], []
    for name, truth in parts.items():
        ids = {}
        for image in truth["images"]:
            if (name, image["id"]) in members:
                ids[image["id"]] = len(images) + 1
                images.append({**image, "id": len(images) + 1})
        for entry in truth["annotations"]:
            if entry["image_id"] in ids:
                about = {"id": len(annotations) + 1, "image_id": ids[entry["image_id"]]}
                annotations.append({**entry, **about})
    return {
        "images": images, "annotations": annotations,
        "categories": parts["train"]["categories"],
    }  # fmt: skip


def options(folder: Path, iterations: int) -> list[str]:
    """KEY VALUE pairs of a fold: its data, and what configs/models/nuclei.yaml trains with."""
    images = Path(datasets_root()).resolve() / "dsb2018" / "images"
    fold = {name: f"{folder.resolve() / name}.json:{images}" for name in ("train", "tune", "test")}
    recipe = build_config(str(CONFIGS / RECIPE))
    augment = recipe.INPUT.AUGMENT
    words = ["INPUT.PERCENTILES", str(list(recipe.INPUT.PERCENTILES))]
    for key in ("SCALE", "GAMMA", "BLUR", "NOISE", "INVERT", "STAIN"):
        words += [f"INPUT.AUGMENT.{key}", str(augment[key])]
    words += ["DATASETS.TRAIN", f"('{fold['train']}',)"]
    words += ["DATASETS.TEST", f"('{fold['tune']}', '{fold['test']}')"]
    words += ["SOLVER.MAX_ITER", str(iterations)]
    return [*words, "SOLVER.STEPS", f"({iterations * 2 // 3}, {iterations * 9 // 10})"]


def measure(folder: Path, kinds: list[str], iterations: int, seeds: list[int], jobs: int) -> None:
    """Train and judge, and keep what the page needs, kind by kind."""
    write_folds(folder)
    for kind in kinds:
        words = ["--config-file", *(str(CONFIGS / arm) for arm in ARMS)]
        words += ["--seeds", *map(str, seeds), "--jobs", str(jobs), "--no-cost"]
        words += ["--output-dir", str(folder / kind / "benchmark")]
        cli.run("benchmark", [*words, "--opts", *options(folder / kind, iterations)])
        kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        kept[kind] = entry(load(folder / kind / "benchmark" / RESULTS_FILE), iterations)
        write_json(RECORD, kept, indent=1)


def entry(results: Mapping[str, Any], iterations: int) -> dict[str, Any]:
    dataset = datasets(results)[-1]
    arms = by_arm(results, dataset)
    first = results["trials"][0]
    return {
        "iterations": iterations,
        **results["evaluation"]["datasets"][dataset],
        "arms": {
            arm: {
                name: of_seeds(trials, dataset, task, metric)
                for name, (task, metric, _) in METRICS.items()
            }
            for arm, trials in arms.items()
        },
        **{key: first[key] for key in ("machine", "versions")},
    }


def page(found: Mapping[str, Any]) -> str:
    lines = [
        "# Kinds of images that a model never saw",
        "",
        "Each kind of DSB2018 is left out of the training and predicted by what was trained on the",
        "others. Mean and (sd) over seeds; the score threshold was tuned on the kinds that the",
        "model knows. Written by `python docs/benchmarks/kinds.py`.",
        "",
    ]
    rows = []
    for kind, about in found.items():
        size = f"{KINDS[kind]}: {about['images']} images, {about['truths']} nuclei"
        for arm, metrics in about["arms"].items():
            cells = [mean_and_sd(metrics[name], digits) for name, (*_, digits) in METRICS.items()]
            seeds = len(next(iter(metrics.values())))
            rows.append([size, f"`{arm}`", about["iterations"], seeds, *cells])
    headers = ["left out", "arm", "iterations", "seeds", *METRICS]
    lines += [markdown_table(headers, rows, words=2), ""]
    return page_text(lines, next(iter(found.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run-dir", type=Path, help="default: only draw the page again")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    if args.run_dir:
        measure(args.run_dir, args.kinds, args.iterations, args.seeds, args.jobs)
    write_text(PAGE, page(json.loads(RECORD.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
