#!/usr/bin/env python
"""Measure prediction in tiles: what becomes of objects at seams, memory, and time by stage.

    make demo
    python docs/benchmarks/tiling.py --config-file output/demo/run/config.yaml \\
        --weights output/demo/run/model_final.pth

writes tiling.json and tiling.md beside this file. Images are drawn (synthetic nuclei, as dense as
100,000 on 16384x16384); every size is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tabulate import tabulate

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.cost import peak_resident
from maskrcnnpp.benchmark.tables import made_with
from maskrcnnpp.data.image_io import open_image
from maskrcnnpp.data.synthetic import generate_nuclei
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.evaluation.matching import match
from maskrcnnpp.evaluation.overlaps import Overlaps, find_overlaps
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import tile_image
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info

HERE = Path(__file__).parent
RECORD, PAGE = HERE / "tiling.json", HERE / "tiling.md"
DENSITY = 100_000 / 16384**2  # nuclei a pixel
SIDES = (4096, 8192, 16384)
SEAM_IMAGES, SEAM_SIDE, SEAM_TILE, SEAM_OVERLAP, SEAM_IOU = 20, 1024, 256, 64, 0.8
FORMATS = ("labels", "csv", "overlay")  # those of tools/predict.py where none is named
#: So that neither the proposals nor the detections of a dense tile are cut short.
OPTS = ["MODEL.RPN.PRE_NMS_TOPK_TEST", "2000", "MODEL.RPN.POST_NMS_TOPK_TEST", "2000"]
OPTS += ["TEST.DETECTIONS_PER_IMAGE", "1000"]
STAGES = ("reading", "model", "masks", "writing")


class Stages:
    """Seconds by stage. What a stage calls of another counts there only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def within(self, name: str, function: Callable) -> Callable:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


def draw(path: Path, side: int) -> None:
    """A picture as a tiled, compressed TIFF."""
    image, _ = generate_nuclei(side, side, side, round(DENSITY * side**2))
    tifffile.imwrite(path, image, tile=(512, 512), compression="zlib")


def measure(model: Mapping[str, Any], path: Path, formats: Sequence[str]) -> dict[str, Any]:
    """One image from file to files."""
    stages = Stages()
    predictor = Predictor.load(**model, progress=True)
    predictor.model.inference = stages.within("model", predictor.model.inference)
    with tempfile.TemporaryDirectory() as folder, stages.stage("reading"):
        with open_image(path) as raster:
            raster.region = stages.within("reading", raster.region)
            with stages.stage("masks"):
                objects = predictor(raster)
            info = Info(path.name, raster, ["nucleus"], [1])
            by_format = {}
            for name in formats:
                before = sum(stages.seconds.values())
                with stages.stage("writing"):
                    WRITERS[name][0](objects, info, Path(folder, f"a{WRITERS[name][1]}"))
                by_format[name] = round(sum(stages.seconds.values()) - before, 2)
        height, width = raster.height, raster.width
    options = predictor.options
    return {
        "side": width,
        "tiles": len(tile_image(height, width, options.tile_size, options.overlap)),
        "objects": len(objects),
        "seconds": {name: round(stages.seconds[name], 2) for name in STAGES},
        "by_format": by_format,
        "peak_mebibytes": round(peak_resident()),
    }


def measure_seams(model: Mapping[str, Any]) -> dict[str, Any]:
    """The same images whole and in tiles."""
    whole = Predictor.load(**model, tile_size=SEAM_SIDE, overlap=0, progress=False)
    tiled = Predictor.load(**model, tile_size=SEAM_TILE, overlap=SEAM_OVERLAP, progress=False)
    rows = []
    for seed in range(SEAM_IMAGES):
        image, _ = generate_nuclei(seed, SEAM_SIDE, SEAM_SIDE, round(DENSITY * SEAM_SIDE**2))
        one, other = whole(image), tiled(image)
        overlaps = _overlaps(one, other)
        found = match(overlaps, SEAM_IOU)
        rows.append(
            {
                "whole": len(one),
                "tiled": len(other),
                "matched": len(found),
                "cut": _cut(overlaps, one, other),
            }
        )
        print(rows[-1], flush=True)
    return {"images": rows}


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
    lines = {"top": {t.top for t in tiles} - {0}, "bottom": {t.bottom for t in tiles} - {SEAM_SIDE}}
    count = 0
    pairs = zip(overlaps.pair_detection, overlaps.pair_truth, overlaps.iou)
    best: dict[int, tuple[float, int]] = {}
    for detection, truth, iou in pairs:
        best[detection] = max(best.get(detection, (0.0, -1)), (iou, truth))
    # both are by falling score, as the objects are
    for detection, (_, truth) in best.items():
        ours, theirs = tiled.detections[detection], whole.detections[truth]
        count += any(
            [
                _near(ours.top, lines["top"], reach) and theirs.top <= ours.top - more,
                _near(ours.left, lines["top"], reach) and theirs.left <= ours.left - more,
                _near(ours.bottom, lines["bottom"], reach) and theirs.bottom >= ours.bottom + more,
                _near(ours.right, lines["bottom"], reach) and theirs.right >= ours.right + more,
            ]
        )
    return count


def _near(place: int, lines: set[int], reach: int) -> bool:
    return any(abs(place - line) <= reach for line in lines)


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    model = {"config_file": args.config_file, "weights": args.weights, "opts": OPTS}
    found: dict[str, Any] = {"seams": _apart(measure_seams, model), "sizes": []}
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            path = Path(folder, f"{side}.tif")
            _apart(draw, path, side)
            formats = tuple(WRITERS) if side == SIDES[0] else FORMATS
            found["sizes"].append(_apart(measure, model, path, formats))
            print(found["sizes"][-1], flush=True)
            path.unlink()
    return {
        **found,
        "config_file": str(args.config_file),
        "opts": OPTS,
        "machine": machine(),
        "versions": versions(),
    }


def _apart(function: Callable, *args: Any) -> Any:
    """In a process of its own, which has used no memory before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()
