"""Whether a COCO file can be loaded, trained on and evaluated on, found out within a second or two.

``check/validation/`` reports all that is wrong with a file, and takes its time. Here the first
fault counts that would end a training with a traceback, some of them not before its end, or falsify
its results. The rules are the same: ``check/validation/`` finds all that is refused here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np

from maskrcnnpp.coco.rules import as_number, box_fault, box_numbers, crowd_fault, size_fault
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.measure import Measured, measure
from maskrcnnpp.masks.rings import fault_of_list


def check_loadable(path: str | os.PathLike, truth: Mapping[str, Any]) -> None:
    """Check what Detectron2 and the metrics read of a COCO file, but the masks themselves.

    Args:
        path: of the file, for the message.
        truth: as :func:`maskrcnnpp.coco.file.load_coco_truth` reads it.

    Raises:
        DataError: with the first fault.
    """
    for kind in ("images", "categories"):
        if not truth[kind]:
            raise DataError(f"{path}: {kind!r} is empty")
    # the metrics count images and categories by number; nobody counts annotations by theirs
    images = _ids(path, "image", truth["images"], (int,))
    categories = _ids(path, "category", truth["categories"], (int,))
    annotations = truth.get("annotations", [])
    _ids(path, "annotation", annotations, (int, str))
    for image in truth["images"]:
        if fault := _image_fault(image):
            raise DataError(f"{path}: image {image['id']}: {fault}")
    for entry in annotations:
        if fault := _annotation_fault(entry, images, categories):
            raise DataError(f"{path}: annotation {entry['id']}: {fault}")
    _check_masks(path, truth)


def missing_files(root: Path, names: Iterable[str]) -> list[str]:
    """The ``names`` that are not files below the folder ``root``, in the same order."""
    # folders are listed: to ask for each of many files takes minutes on a network drive
    listed: dict[str, set[str]] = {}
    missing = []
    for name in names:
        path = os.path.join(root, name)
        folder, file = os.path.split(path)
        if folder not in listed:
            listed[folder] = _files_in(folder)
        # asked for all the same where upper and lower case are one
        if file not in listed[folder] and not os.path.isfile(path):
            missing.append(name)
    return missing


def _files_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:  # it is not there, or may not be listed
        return set()


def _ids(
    path: str | os.PathLike, what: str, entries: Sequence[Mapping], types: Sequence[type]
) -> Collection[Any]:
    """The ids of a list, which must be of these types and differ."""
    ids = [entry.get("id") for entry in entries]
    for number, value in enumerate(ids):
        if type(value) not in types:
            raise DataError(
                f"{path}: {what} number {number} has the id {short(value)}; it needs a whole number"
            )
    unique = set(ids)
    if len(unique) < len(ids):
        twice = [value for value, count in Counter(ids).items() if count > 1]
        shown = ", ".join(map(str, twice[:3])) + (", ..." if len(twice) > 3 else "")
        raise DataError(f"{path}: {what} ids are there more than once: {shown}")
    return unique


def _image_fault(image: Mapping[str, Any]) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        return f"file_name is {short(name)}; it needs the name of a file"
    return size_fault(image["height"], image["width"])


def _annotation_fault(
    entry: Mapping[str, Any], images: Collection[Any], categories: Collection[Any]
) -> str:
    for key, known in (("image_id", images), ("category_id", categories)):
        value = entry[key]
        if not isinstance(value, Hashable) or value not in known:
            return f"{key} is {short(value)}, and the file has none of that id"
    if box_numbers(entry["bbox"]) is None:
        return f"bbox is {short(entry['bbox'])}; it needs four finite numbers: x, y, width, height"
    if as_number(entry["area"]) is None:
        return f"area is {short(entry['area'])}; it needs a finite number"
    if entry.get("ignore"):
        return crowd_fault(entry)[1]
    mask = entry.get("segmentation")
    if not mask or isinstance(mask, dict):  # boxes alone can be trained on
        return ""
    if isinstance(mask, list) and all(isinstance(ring, list) for ring in mask):
        return next((f"polygon: {fault}" for fault in map(fault_of_list, mask) if fault), "")
    return f"segmentation is {short(mask)}; it needs run lengths or a list of polygons"


def _check_masks(path: str | os.PathLike, truth: Mapping[str, Any]) -> None:
    """Check that run lengths are valid, and that boxes fit their masks.

    Raises:
        DataError: with the first fault.
    """
    images = {image["id"]: image for image in truth["images"]}
    known = [entry for entry in truth.get("annotations", []) if entry.get("segmentation")]
    sizes = [tuple(images[e["image_id"]][side] for side in ("height", "width")) for e in known]
    packed = [(e, size) for e, size in zip(known, sizes) if isinstance(e["segmentation"], dict)]
    measured = measure((entry["segmentation"], *size) for entry, size in packed)
    masks = {id(entry): mask for (entry, _), mask in zip(packed, measured)}
    for entry, size in zip(known, sizes):
        mask = masks.get(id(entry)) or _extent(entry["segmentation"])
        name = images[entry["image_id"]]["file_name"]
        fault = _mask_fault(entry, mask)
        if fault and id(entry) not in masks:  # a ring may have no pixel: now it is drawn
            (mask,) = measure([(entry["segmentation"], *size)])
            fault = _mask_fault(entry, mask)
        if fault:
            raise DataError(f"{path}: annotation {entry['id']} of {name}: {fault}")


def _mask_fault(entry: Mapping[str, Any], mask: Measured) -> str:
    if mask.problem:
        return mask.problem
    found = box_fault(entry["bbox"], mask, 0, 0)
    return found[1] if found and found[0] == "error" and "mask" in found[1] else ""


def _extent(polygons: Sequence[Sequence[float]]) -> Measured:
    """The box of polygons, of which no pixel is drawn."""
    points = np.concatenate([np.asarray(ring, dtype=np.float64) for ring in polygons])
    x, y = points[::2], points[1::2]
    low = float(np.floor(x.min())), float(np.floor(y.min()))
    high = float(np.ceil(x.max())), float(np.ceil(y.max()))
    return Measured(box=(*low, high[0] - low[0], high[1] - low[1]))
