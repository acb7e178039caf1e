#!/usr/bin/env python
"""Measure the shipped models on nuclei of other sizes than those of their training, and on noise.

    python docs/benchmarks/scales.py

Images of dsb2018_test are resized, and predicted as they are, with the factor that
``maskrcnnpp predict`` estimates, and with the true diameter; images without objects as they are and
with the estimated factor. Writes scales.json and scales.md beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as rle_library
from tqdm import tqdm

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.evaluation.instance_metrics import count_images
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.images.display import read_rgb
from maskrcnnpp.inference.backend import Trained, find_trained
from maskrcnnpp.inference.resizing import resized_to
from maskrcnnpp.masks.labels import label_masks
from maskrcnnpp.masks.parse import as_rle
from maskrcnnpp.models import find_model, shipped

FACTORS = (0.3, 0.5, 1, 2, 3, 5, 8)
DIAMETERS = (6, 200)  # pixels: medians of images that are used
SIDE = 640  # pixels of the middle of a resized image
WAYS = ("as it is", "estimated", "true diameter")
EMPTY_SIDES = (256, 520, 1024)  # pixels of images without objects


def measure(images: int) -> dict[str, Any]:
    folder = Path(datasets_root()) / "dsb2018"
    truth = load_coco_truth(folder / "annotations" / "instances_test.json")
    chosen = np.random.default_rng(0).permutation(len(truth["images"]))[:images]
    scenes: dict[float, list] = {}
    for factor in FACTORS:
        for image in (truth["images"][k] for k in chosen):
            pixels = read_rgb(folder / "images" / image["file_name"])
            scene = _resized(pixels, _labels(truth, image), factor)
            if scene and DIAMETERS[0] <= scene[2] <= DIAMETERS[1]:
                scenes.setdefault(factor, []).append(scene)
    models = {}
    for name in shipped():
        trained, usual = find_trained(name), find_model(name).card["diameter"]
        rows = [
            {"factor": factor, "images": len(some), **_scored(some, trained, usual)}
            for factor, some in scenes.items()
        ]
        models[find_model(name).title] = {"rows": rows, "empty": _of_empty(trained, usual)}
    return {"models": models, **origin("onnxruntime")}


def _of_empty(trained: Trained, usual: float) -> list[dict[str, Any]]:
    """How many objects are found in images without any."""
    found: dict[str, dict[str, Any]] = {}
    for kind, pixels in tqdm([*_empty_images()], desc="without objects", leave=False):
        row = found.setdefault(kind, {"kind": kind, "images": 0, "resized": 0})
        row["images"] += 1
        for way, given in (("as it is", usual), ("estimated", None)):
            objects = Predictor.of(trained, diameter=given, progress=False)(pixels)
            row[way] = row.get(way, 0) + len(objects)
            row["resized"] += objects.scale != 1
    return [*found.values()]


def _empty_images() -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for side in EMPTY_SIDES:
        shape = (side, side)
        y, x = np.mgrid[:side, :side] / side - 0.5
        light, waves = np.exp(-3 * (x * x + y * y)), _smooth(rng, shape, side / 10)
        yield "noise of a camera, 8-bit", _in_8_bit(rng.normal(10, 2, shape))
        yield "noise of a camera, 16-bit", rng.normal(100, 5, shape).astype(np.uint16)
        yield "few photons", rng.poisson(3, shape).astype(np.uint8)
        yield "uneven light and noise", _in_8_bit(40 * light + rng.normal(10, 2, shape))
        yield "smooth background", (200 + 20 * waves + rng.normal(0, 3, shape)).astype(np.uint16)
        yield "empty glass, in colour", _in_8_bit(rng.normal(235, 3, (*shape, 3)))
        stain = np.array([220, 170, 200]) + 10 * _smooth(rng, shape, 6)[..., None]
        yield "stain without nuclei", _in_8_bit(stain + rng.normal(0, 6, (*shape, 3)))
        yield "noise, smoothed", _in_8_bit(20 + 2 * _smooth(rng, shape, 1.5))
        yield "hot pixels", np.where(rng.random(shape) < 0.005, 200, 10).astype(np.uint8)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Noise with this blur, of standard deviation 1."""
    values = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), sigma)
    return values / values.std()


def _in_8_bit(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def _scored(
    scenes: Sequence[tuple[np.ndarray, np.ndarray, float]], trained: Trained, usual: float
) -> dict[str, Any]:
    coco: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 1}]}
    for number, (_, labels, _) in enumerate(scenes):
        height, width = labels.shape
        coco["images"].append({"id": number, "height": height, "width": width})
        for rle in label_masks(labels)[1]:
            entry = {"image_id": number, "segmentation": rle, "category_id": 1, "iscrowd": 0}
            coco["annotations"].append({"id": len(coco["annotations"]) + 1, **entry})
    found: dict[str, Any] = {"diameter": float(np.median([scene[2] for scene in scenes]))}
    for way in WAYS:
        results, scales = [], []
        for number, (pixels, _, diameter) in enumerate(tqdm(scenes, desc=way, leave=False)):
            given = {"as it is": usual, "true diameter": diameter}.get(way)
            objects = Predictor.of(trained, diameter=given, progress=False)(pixels)
            scales.append(objects.scale)
            results += objects.to_coco(number)
        counts = count_images(find_overlaps(coco, results, max_dets=5000), 0.0)
        f1 = 2 * counts.true_positives[:, 0] / (counts.truths + counts.predictions)
        found[way] = round(float(f1.mean()), 4)
        if way == "estimated":
            found["scales"] = {str(scale): scales.count(scale) for scale in sorted(set(scales))}
    return found


def _labels(truth: Mapping[str, Any], image: Mapping[str, Any]) -> np.ndarray:
    labels = np.zeros((image["height"], image["width"]), np.int32)
    for number, entry in enumerate(truth["annotations"], 1):
        if entry["image_id"] == image["id"]:
            labels[rle_library.decode(as_rle(entry["segmentation"], *labels.shape)) > 0] = number
    return labels


def _resized(
    pixels: np.ndarray, labels: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """The middle of a resized image, its labels, and the median diameter of its nuclei."""
    height, width = (max(8, round(side * factor)) for side in labels.shape)
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    middle = (slice(top, top + SIDE), slice(left, left + SIDE))
    labels = labels[rows][:, columns][middle]
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    if not len(areas):
        return None
    diameter = 2 * float(np.sqrt(np.median(areas) / np.pi))
    return np.ascontiguousarray(resized_to(pixels, height, width)[middle]), labels, diameter


def page(found: Mapping[str, Any]) -> str:
    lines = ["# Images of any magnification, and without objects", ""]
    lines += [f"Images of dsb2018_test that were resized, and cut to {SIDE} pixels; those whose"]
    lines += [f"median nucleus has {DIAMETERS[0]} to {DIAMETERS[1]} pixels. F1 at IoU .5, mean of"]
    lines += ["the images: predicted as they are, with the factor that is estimated for each (and"]
    lines += ["how often which), and with `--diameter`, the true median of the image. The rule"]
    lines += ["that estimates was chosen on dsb2018_val and on other images without objects.", ""]
    for title, about in found["models"].items():
        rows = [
            [f"{row['factor']:g}", row["images"], f"{row['diameter']:.0f}"]
            + [f"{row[way]:.3f}" for way in WAYS]
            + [", ".join(f"{scale}: {count}" for scale, count in row["scales"].items())]
            for row in about["rows"]
        ]
        headers = ["resized by", "images", "median diameter, px", *WAYS, "estimated factors"]
        lines += [f"## {title}", "", markdown_table(headers, rows), ""]
        sides = ", ".join(map(str, EMPTY_SIDES))
        lines += [f"Objects that it finds in images of {sides} pixels a side that have none:", ""]
        rows = [
            [row["kind"], row["images"], row["as it is"], row["estimated"], row["resized"]]
            for row in about["empty"]
        ]
        headers = ["made-up image", "images", "as it is", "estimated", "images resized"]
        lines += [markdown_table(headers, rows), ""]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure, page, images=20)
