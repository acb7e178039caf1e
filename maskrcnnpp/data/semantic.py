"""Truth of semantic segmentation: a label image, or the objects of a COCO file as foreground.

A file of a semantic data set is of COCO's form without annotations; each image names its label
image, an 8-bit picture of one channel, as ``sem_seg_file_name``, relative to the folder of the
file. Label 0 is background, label k the category with the id k, 255 a pixel that does not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import ConfigError, DataError, first_line
from maskrcnnpp.masks.parse import as_rle
from maskrcnnpp.masks.polygons import polygon_mask

#: Key of an image in the file, and of Detectron2's dict of it.
LABEL_FILE = "sem_seg_file_name"
#: Key of Detectron2's dict: how many classes its data set has beside the background.
CLASS_COUNT = "sem_seg_classes"
IGNORED = 255
_MODES = ("L", "P", "1")  # of Pillow: grey, palette, black and white


def is_semantic(cfg: CfgNode) -> bool:
    """Whether the model of ``cfg`` learns a label of each pixel and no objects."""
    return cfg.MODEL.META_ARCHITECTURE == "SemanticSegmentor"


def has_label_images(truth: Mapping[str, Any]) -> bool:
    """Whether the dict of a COCO file, which need not be a good one, is of a semantic data set."""
    images = truth.get("images")
    entries = images if isinstance(images, list) else []
    return any(isinstance(image, dict) and LABEL_FILE in image for image in entries)


def category_ids_fault(ids: Iterable[int]) -> str:
    """Fault of the ids of a semantic data set's categories; empty if there is none."""
    ids = sorted(ids)
    if ids == list(range(1, len(ids) + 1)) and len(ids) < IGNORED:
        return ""
    return (
        "the categories of a semantic data set have the ids 1, 2, ..., which are their labels; "
        f"they are {ids}"
    )


def check_semantic_file(path: str | os.PathLike, truth: Mapping[str, Any]) -> None:
    """Check what is special to the file of a semantic data set.

    Raises:
        DataError: label images are not named or not there, or categories are not 1, 2, ...
    """
    if fault := category_ids_fault(category["id"] for category in truth["categories"]):
        raise DataError(f"{path}: {fault}")
    for image in truth["images"]:
        if LABEL_FILE not in image:
            raise DataError(f"{path}: image {image['id']} has no {LABEL_FILE!r}, others have")
        label_file = Path(path).parent / str(image[LABEL_FILE])
        if not label_file.is_file():
            raise DataError(f"{path}: {label_file} of image {image['id']} does not exist")


def with_label_files(
    records: Sequence[dict[str, Any]], path: str | os.PathLike, truth: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Detectron2's dicts of the images of a semantic data set, each with its label image."""
    files = {image["id"]: Path(path).parent / image[LABEL_FILE] for image in truth["images"]}
    count = len(truth["categories"])
    for record in records:
        record.pop("annotations", None)
        record[LABEL_FILE] = os.path.normpath(files[record["image_id"]])
        record[CLASS_COUNT] = count
    return list(records)


def check_labels_fit(cfg: CfgNode, name: str, key: str) -> None:
    """Check that a data set has the classes that the head predicts.

    Args:
        name: of a data set that Detectron2 knows; one of unknown classes passes.
        key: that names it, for the message.

    Raises:
        ConfigError: it has others.
    """
    metadata = MetadataCatalog.get(name)
    classes = metadata.get("thing_classes")
    if not classes:
        if metadata.get("stuff_classes"):
            raise ConfigError(
                f"{name} of {key} is registered with stuff_classes, of which label 0 is one; with "
                f"MODEL.SEM_SEG_HEAD.NAME {cfg.MODEL.SEM_SEG_HEAD.NAME} label 0 is background: "
                "convert it with maskrcnnpp prepare semantic, and name its file"
            )
        return
    if len(classes) >= IGNORED:
        raise ConfigError(f"{name} of {key} has {len(classes)} classes; labels have 8 bits")
    head = cfg.MODEL.SEM_SEG_HEAD
    if head.REGIONS:
        largest = max(label for labels in head.REGIONS for label in labels)
        if largest > len(classes):
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.REGIONS name label {largest}, but {name} of {key} has "
                f"{len(classes)}: {', '.join(map(str, classes[:10]))}"
            )
        return
    wanted = len(classes) + (head.ACTIVATION == "softmax")
    if head.NUM_CLASSES != wanted:
        background = " and background" * (head.ACTIVATION == "softmax")
        raise ConfigError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {head.NUM_CLASSES}, but {name} of {key} has "
            f"{wanted} ({', '.join(map(str, classes[:10]))}{background})"
        )


def check_labels_agree(names: Sequence[str]) -> None:
    """Check that label k means the same class in all data sets, as far as it is known.

    Raises:
        ConfigError: it does not.
    """
    known: dict[tuple[str, ...], str] = {}
    for name in names:
        if classes := MetadataCatalog.get(name).get("thing_classes"):
            known.setdefault(tuple(map(str, classes)), name)
    if len(known) > 1:
        told = "; ".join(f"{', '.join(c[:10])} in {name}" for c, name in known.items())
        raise ConfigError(
            f"the labels 1, 2, ... of DATASETS.TRAIN and TEST stand for different classes: {told}; "
            "they need the same names in the same order"
        )


def read_labels(record: Mapping[str, Any], ignored: int = IGNORED) -> np.ndarray:
    """The label image of Detectron2's dict of an image.

    Without a label image it is made of the objects: label k + 1 where one of category k is, and
    ``ignored`` where there is only a crowd; a later object covers an earlier one.

    Returns:
        uint8 (height, width).

    Raises:
        DataError: it cannot be read, has another size than the image, or a label that its data
            set does not list.
    """
    if LABEL_FILE in record:
        labels = _read(record[LABEL_FILE])
        _check(record, labels, ignored)
        return labels
    height, width = record["height"], record["width"]
    labels = np.zeros((height, width), np.uint8)
    for entry in sorted(record.get("annotations", ()), key=lambda e: not e.get("iscrowd")):
        if not entry.get("segmentation"):
            raise DataError(f"{record['file_name']}: an annotation has no segmentation")
        try:
            mask = entry["segmentation"]
            if isinstance(mask, list):
                mask = polygon_mask(mask, (), height, width)
            if mask is not None:
                pixels = coco_mask.decode(as_rle(mask, *mask["size"])).astype(bool)
                labels[pixels] = ignored if entry.get("iscrowd") else entry["category_id"] + 1
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{record['file_name']}: an annotation cannot be used: {first_line(error)}"
            ) from error
    return labels


def _read(path: str) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            if picture.mode not in _MODES:
                raise DataError(
                    f"{path} is a picture of mode {picture.mode}; labels need one channel of 8 bits"
                )
            # as Detectron2 turns the image; of a palette the indices
            return np.array(ImageOps.exif_transpose(picture)).astype(np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a label image: {first_line(error)}") from error


def _check(record: Mapping[str, Any], labels: np.ndarray, ignored: int) -> None:
    size = record["height"], record["width"]
    if labels.shape != size:
        raise DataError(
            f"{record[LABEL_FILE]} has {labels.shape[0]}x{labels.shape[1]} pixels, its image "
            f"{record['file_name']} {size[0]}x{size[1]}"
        )
    if CLASS_COUNT not in record:
        return  # registered by someone else, who knows
    counts = np.bincount(labels.ravel(), minlength=256)
    counts[ignored] = 0
    unlisted = np.flatnonzero(counts[record[CLASS_COUNT] + 1 :]) + record[CLASS_COUNT] + 1
    if len(unlisted):
        raise DataError(
            f"{record[LABEL_FILE]} has the labels {', '.join(map(str, unlisted[:10]))}; its data "
            f"set lists 0 to {record[CLASS_COUNT]}, and {ignored} for what does not count"
        )
