#!/usr/bin/env python
"""Measure prediction in tiles with the shipped models: objects at seams, memory and time.

    python docs/benchmarks/tiling.py

writes tiling.json and tiling.md beside this file. Large images are drawn (synthetic nuclei, as
dense as 100,000 on 16384x16384) and predicted by the command, each in a process of its own; seams
are looked at in drawn images and in the prepared DSB2018.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.cost import in_own_process
from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.convert.synthetic import generate_nuclei
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.errors import UserError
from maskrcnnpp.evaluation.matching import match
from maskrcnnpp.evaluation.overlaps import Overlaps, find_overlaps
from maskrcnnpp.images import open_image
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection, Tile, tile_image
from maskrcnnpp.models import find_model, shipped

DENSITY = 100_000 / 16384**2  # nuclei a pixel
SIDES = (4096, 8192, 16384)
SEAM_SIDE, SEAM_TILE, SEAM_OVERLAP, SEAM_IOU = 1024, 256, 64, 0.8
MOVED = 21  # pixels: no multiple of a stride, as places of tiles
COMMAND = Path(__file__).with_name("peers") / "time_command.py"


def draw(path: Path, side: int) -> None:
    """A picture as a tiled, compressed TIFF."""
    image, _ = generate_nuclei(side, side, side, round(DENSITY * side**2))
    tifffile.imwrite(path, image, tile=(512, 512), compression="zlib")


def measure_command(model: str, path: Path, output: Path) -> dict[str, float]:
    """From the file to a label image, a table and an overlay, with one thread."""
    usual = str(find_model(model).card["diameter"])  # given, so that tiles keep their size
    words = ["predict", str(path), "--model", model, "--backend", "onnx", "--diameter", usual]
    done = subprocess.run(
        [sys.executable, str(COMMAND), *words, "--output", str(output)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    cpu, wall, peak = json.loads(done.stdout.splitlines()[-1])
    with open(next(output.glob("*.csv")), encoding="utf-8") as file:
        objects = sum(1 for _ in csv.DictReader(file))
    return {"cpu": cpu, "wall": wall, "peak_mebibytes": peak, "objects": objects}


def measure_sizes() -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            path = Path(folder, f"{side}.tif")
            in_own_process(draw, path, side)
            for model in shipped():
                found = measure_command(model, path, Path(folder, f"{side}-{model}"))
                rows.append({"side": side, "model": find_model(model).title, **found})
                print(rows[-1], flush=True)
            path.unlink()
    return rows


def drawn_images(number: int) -> Iterator[np.ndarray]:
    for seed in range(number):
        yield generate_nuclei(seed, SEAM_SIDE, SEAM_SIDE, round(DENSITY * SEAM_SIDE**2))[0]


def real_images() -> Iterator[np.ndarray]:
    """Those of DSB2018 that have the size, of all splits: it is not accuracy that is measured."""
    for path in sorted((datasets_root() / "dsb2018").glob("images/**/*.png")):
        with open_image(path) as raster:
            if raster.shape[:2] == (SEAM_SIDE, SEAM_SIDE):
                yield raster.region(0, 0, SEAM_SIDE, SEAM_SIDE)


def measure_seams(model: str, images: Iterator[np.ndarray]) -> list[dict[str, int]]:
    """The same images whole, in tiles and, to compare with, whole but moved by some pixels."""
    usual = find_model(model).card["diameter"]  # given, so that tiles keep their size
    load = partial(Predictor.load, model, backend="onnx", diameter=usual, progress=False)
    whole = load(tile_size=SEAM_SIDE + 64, overlap=0)
    tiled = load(tile_size=SEAM_TILE, overlap=SEAM_OVERLAP)
    rows = []
    for image in images:
        one, other, moved = whole(image), tiled(image), _moved(whole, image)
        overlaps, control = _overlaps(one, other), _overlaps(one, moved)
        rows.append(
            {
                "whole": len(one),
                "tiled": len(other),
                "matched": len(match(overlaps, SEAM_IOU)),
                "cut": _cut(overlaps, one, other),
                "moved": len(moved),
                "moved_matched": len(match(control, SEAM_IOU)),
                "moved_cut": _cut(control, one, moved),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _moved(predictor: Predictor, image: np.ndarray) -> Objects:
    """Of the image with a mirrored margin at the top and left, and moved back."""
    margin = ((MOVED, 0), (MOVED, 0)) + ((0, 0),) * (image.ndim - 2)
    found = predictor(np.pad(image, margin, mode="reflect"))
    inside = Tile(MOVED, MOVED, *found.image_size)
    moved = []
    for entry in found:
        if part := entry.within(inside):
            place, pixels = part
            top, left = place.top - MOVED, place.left - MOVED
            moved.append(Detection(entry.box, entry.score, entry.category, pixels, top, left))
    moved = [entry for entry in moved if entry.area > 0]
    return Objects(moved, *image.shape[:2])


def _overlaps(truth: Objects, found: Objects) -> Overlaps:
    height, width = truth.image_size
    annotations = [
        {**entry, "id": number, "iscrowd": 0, "area": 1.0}
        for number, entry in enumerate(truth.to_coco(1), start=1)
    ]
    data = {
        "images": [{"id": 1, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    return find_overlaps(data, found.to_coco(1), max_dets=10**6)


def _cut(overlaps: Overlaps, whole: Objects, tiled: Objects, reach: int = 2, more: int = 4) -> int:
    """Objects that end within ``reach`` pixels of a tile's side inside the image, while the object
    of the whole image that they overlap most goes on for ``more`` pixels there."""
    tiles = tile_image(SEAM_SIDE, SEAM_SIDE, SEAM_TILE, SEAM_OVERLAP)
    starts, ends = {t.top for t in tiles} - {0}, {t.bottom for t in tiles} - {SEAM_SIDE}
    best: dict[int, tuple[float, int]] = {}
    for detection, truth, iou in zip(
        overlaps.pair_detection, overlaps.pair_truth, overlaps.iou, strict=True
    ):
        best[detection] = max(best.get(detection, (0.0, -1)), (iou, truth))

    def near(place: int, lines: set[int]) -> bool:
        return any(abs(place - line) <= reach for line in lines)

    # both are by falling score, as the objects are
    pairs = [(tiled.detections[k], whole.detections[truth]) for k, (_, truth) in best.items()]
    return sum(
        (near(ours.top, starts) and theirs.top <= ours.top - more)
        or (near(ours.left, starts) and theirs.left <= ours.left - more)
        or (near(ours.bottom, ends) and theirs.bottom >= ours.bottom + more)
        or (near(ours.right, ends) and theirs.right >= ours.right + more)
        for ours, theirs in pairs
    )


def measure(drawn: int) -> dict[str, Any]:
    if next(real_images(), None) is None:
        raise UserError(f"there is no DSB2018 in {datasets_root()}: maskrcnnpp prepare dsb2018")
    seams = {
        find_model(model).title: {
            "synthetic": measure_seams(model, drawn_images(drawn)),
            "DSB2018": measure_seams(model, real_images()),
        }
        for model in shipped()
    }
    return {"seams": seams, "sizes": measure_sizes(), **origin("onnxruntime", "tifffile")}


def seam_rows(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for model, kinds in found["seams"].items():
        for kind, images in kinds.items():
            total = {key: sum(row[key] for row in images) for key in images[0]}
            f1, f1_moved = (
                2 * total[matched] / (total["whole"] + total[other])
                for matched, other in (("matched", "tiled"), ("moved_matched", "moved"))
            )
            counts = [len(images), total["whole"], total["tiled"]]
            cut = [total["cut"], total["moved_cut"]]
            rows.append(
                [model, kind, *map(str, counts), f"{f1:.3f}", f"{f1_moved:.3f}", *map(str, cut)]
            )
    return rows


def size_rows(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for row in found["sizes"]:
        megapixels = row["side"] ** 2 / 2**20
        rows.append(
            [
                f"{row['side']}x{row['side']}",
                row["model"],
                str(row["objects"]),
                f"{row['wall']:.0f}",
                f"{row['cpu'] / megapixels:.2f}",
                f"{row['objects'] / row['wall']:.0f}",
                f"{row['peak_mebibytes']:.0f}",
            ]
        )
    return rows


def page(found: Mapping[str, Any]) -> str:
    seams = ["model", "images", "number", "objects, whole", "in tiles", "F1", "F1, moved"]
    sizes = ["image", "model", "objects", "seconds", "CPU-s/megapixel", "objects/s", "peak, MiB"]
    lines = [
        "# Prediction in tiles",
        "",
        "Shipped models as ONNX files, with their own settings. Written by",
        "`python docs/benchmarks/tiling.py`.",
        *([found["note"]] if "note" in found else []),  # by hand, such as of another name
        "",
        "## Seams",
        "",
        f"Images of {SEAM_SIDE}x{SEAM_SIDE} pixels, whole and in tiles of {SEAM_TILE} that share",
        f"{SEAM_OVERLAP}: F1 between the two at IoU {SEAM_IOU}. Beside it the F1 between the",
        f"image and itself moved by {MOVED} pixels, both whole: what a model differs by without",
        "a seam. Cut: objects that end at a tile's side while that of the whole image goes on;",
        "in the moved image nothing is at these places, and what is counted there is chance.",
        "",
        markdown_table([*seams, "cut", "cut, moved"], seam_rows(found), words=2),
        "",
        "## Size",
        "",
        "`maskrcnnpp predict`, one thread, from a tiled TIFF to a label image, a table and an",
        "overlay, start of the program included; tiles of up to 1024 pixels that share 128.",
        "Nuclei are synthetic, 100,000 on the largest image.",
        "",
        markdown_table(sizes, size_rows(found), words=2),
        "",
    ]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure, page, drawn=20)
