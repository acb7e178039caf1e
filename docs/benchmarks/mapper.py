#!/usr/bin/env python
"""Measure the time to load a training image: Detectron2's mapper and this project's.

    python docs/benchmarks/mapper.py

writes mapper.json and mapper.md beside this file. One thread; images of 512x512 with 100 objects
lie in a temporary folder, and so in the cache of the system.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnnpp import add_maskrcnnpp_config
from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.data.mapper import MicroscopyMapper

RECORD, PAGE = record_files(__file__)
SIDE = 512  # pixels
OBJECTS = 100
REPEATS = 30
AUGMENT = {
    "VERTICAL_FLIP": True,
    "ROT90": True,
    "ROTATION": 15.0,
    "ELASTIC": 4.0,
    "STAIN": 0.2,
    "INVERT": 0.5,
    "GAMMA": [0.7, 1.4],
    "BLUR": [0.0, 1.5],
    "NOISE": [0.0, 10.0],
}
RGB, GREY = "8-bit RGB PNG", "16-bit TIFF, 1 channel"
DENSE = "8-bit RGB PNG of 2048x2048, 1000 objects, cropped to 512x512"
DENSE_SIDE, DENSE_OBJECTS, DENSE_REPEATS = 2048, 1000, 5
NONE, ALL = "flip", "flip and all of INPUT.AUGMENT"


def annotations(generator: np.random.Generator, side: int, count: int) -> list[dict]:
    """Disks of 16 pixels, as RLE."""
    found = []
    for x, y in generator.integers(16, side - 16, (count, 2)).tolist():
        mask = np.zeros((side, side), np.uint8)
        cv2.circle(mask, (x, y), 8, 1, thickness=-1)
        rle = coco_mask.encode(np.asfortranarray(mask))
        box = [x - 8, y - 8, x + 9, y + 9]
        about = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
        found.append({**about, "segmentation": rle})
    return found


def write_images(folder: Path) -> dict[str, dict]:
    """A data set dict of each kind of file."""
    generator = np.random.default_rng(0)
    colours = cv2.GaussianBlur(generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8), (9, 9), 0)
    Image.fromarray(colours).save(folder / "rgb.png")
    tifffile.imwrite(folder / "grey.tif", colours[..., 0].astype(np.uint16) * 200)
    about = {"height": SIDE, "width": SIDE, "annotations": annotations(generator, SIDE, OBJECTS)}
    Image.fromarray(cv2.resize(colours, (DENSE_SIDE, DENSE_SIDE))).save(folder / "dense.png")
    dense = {
        "file_name": str(folder / "dense.png"),
        "height": DENSE_SIDE,
        "width": DENSE_SIDE,
        "annotations": annotations(generator, DENSE_SIDE, DENSE_OBJECTS),
    }
    return {
        DENSE: dense,
        RGB: {"file_name": str(folder / "rgb.png"), **about},
        GREY: {"file_name": str(folder / "grey.tif"), **about},
    }


def config(kind: str, augmentation: str) -> CfgNode:
    cfg = get_cfg()
    add_maskrcnnpp_config(cfg)
    cfg.MODEL.MASK_ON, cfg.INPUT.MASK_FORMAT = True, "bitmask"
    cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TRAIN = "RGB", (0,)
    if kind == GREY:
        cfg.INPUT.CHANNELS, cfg.INPUT.PERCENTILES = [0], [1.0, 99.8]
        cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0], [50.0]
    else:
        cfg.INPUT.CHANNELS = [0, 1, 2]
    if kind == DENSE:
        cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE = True, "absolute"
        cfg.INPUT.CROP.SIZE = [512, 512]
    if augmentation == ALL:
        cfg.INPUT.AUGMENT.update(AUGMENT)
        cfg.INPUT.AUGMENT.STAIN *= kind == RGB  # there are no stains in grey
    return cfg


def milliseconds(
    mapper: DatasetMapper, sample: Mapping[str, Any], repeats: int = REPEATS
) -> dict[str, float]:
    """Median and quartiles of an image, after one to warm up."""
    np.random.seed(0)
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        mapper(sample)
        times.append(1000 * (time.perf_counter() - began))
    low, middle, high = statistics.quantiles(times[1:], n=4)
    return {"median": round(middle, 1), "low": round(low, 1), "high": round(high, 1)}


def measure_all() -> dict[str, Any]:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        samples = write_images(Path(folder))
        # of 16 bits Detectron2's mapper makes something else: there is nothing to compare
        cases = [("Detectron2", RGB, NONE)]
        cases += [("maskrcnnpp", kind, what) for kind in (RGB, GREY) for what in (NONE, ALL)]
        cases += [(name, DENSE, NONE) for name in ("Detectron2", "maskrcnnpp")]
        for name, kind, what in cases:
            cfg = config(kind, what)
            mapper = (DatasetMapper if name == "Detectron2" else MicroscopyMapper)(cfg, True)
            found = milliseconds(mapper, samples[kind], DENSE_REPEATS if kind == DENSE else REPEATS)
            rows.append({"mapper": name, "file": kind, "augmentations": what, **found})
            print(rows[-1], flush=True)
    return {"rows": rows, **origin()}


def page(found: Mapping[str, Any]) -> str:
    rows = [
        [
            *(row[key] for key in ("file", "augmentations", "mapper")),
            f"{row['median']:.1f}",
            f"{row['low']:.1f} to {row['high']:.1f}",
        ]
        for row in found["rows"]
    ]
    headers = ["file", "augmentations", "mapper", "ms an image", "quartiles"]
    lines = [
        "# Time to load a training image",
        "",
        f"{SIDE}x{SIDE} pixels without a crop, {OBJECTS} objects of 16 pixels as RLE, one thread,",
        f"{REPEATS} times each; the dense images {DENSE_REPEATS} times. Written by",
        "`python docs/benchmarks/mapper.py`.",
        "",
        markdown_table(headers, rows, words=3),
        "",
    ]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure_all, page)
