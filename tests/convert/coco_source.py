"""Small COCO data sets, for the tests beside this."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from dsb2018_source import NOISE, png
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.coco_dataset import ImageRecord, coco_dict
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.coco import CocoReader

SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]  # 12 pixels
FULL = np.zeros((12, 16), np.uint8, order="F")
FULL[10:12, 14:16] = 1
COMPRESSED = {"size": [12, 16], "counts": coco_mask.encode(FULL)["counts"].decode()}
LISTED = {"size": [12, 16], "counts": [0, 5, 187]}


def image(number, file_name):
    return {"id": number, "file_name": file_name, "height": 12, "width": 16}


def annotation(number, image_id, segmentation, category=7):
    """Of which ``bbox`` and ``area`` are wrong: nobody should read them."""
    entry = {"id": number, "image_id": image_id, "segmentation": segmentation}
    return {**entry, "category_id": category, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}


def good_content() -> dict:
    """Two images; three kinds of masks; ids with gaps; one category without objects."""
    return {
        "images": [image(30, "b.png"), image(4, "a.png")],
        "annotations": [
            annotation(9, 4, [SQUARE]),
            annotation(12, 30, COMPRESSED, category=2),
            annotation(3, 4, LISTED, category=2),
            annotation(5, 30, [SQUARE, [10, 8, 12, 8, 12, 10, 10, 10]]),
        ],
        "categories": [
            {"id": 7, "name": "cell", "supercategory": "x"},
            {"id": 2, "name": "nucleus"},
            {"id": 5, "name": "débris"},
        ],
    }


def good_files(content=None, name="annotations/train.json") -> dict[str, bytes]:
    text = json.dumps(good_content() if content is None else content)
    pictures = {"images/a.png": png(NOISE), "images/b.png": png(NOISE[..., 0])}
    return {**pictures, name: text.encode()}


def read_coco(source: Path, workers: int = 0, **options):
    problems = ProblemLog(skip_bad=True)
    reader = CocoReader(source, problems, **options)
    return {sample.name: sample for sample in reader.read(workers=workers)}, problems, reader


def encode(pixels: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {"size": list(pixels.shape), "counts": rle["counts"].decode()}


def truth_of(images: dict[str, np.ndarray]) -> dict:
    """A COCO dict of masks, bool (N, height, width), by file name."""
    records = [
        ImageRecord(name, *masks.shape[1:], "", tuple(map(encode, masks)), (1,) * len(masks))
        for name, masks in images.items()
    ]
    return coco_dict(records, info={})


def write_images(folder: Path, truth: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(truth["images"]):
        pixels = np.full((image["height"], image["width"]), number, np.uint8)
        (folder / image["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / image["file_name"]).write_bytes(png(pixels))
    return folder
