"""Rules for the members of a COCO entry: each returns the fault, or that there is none."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from reprlib import repr as short
from typing import Any, Literal

import numpy as np

from maskrcnnpp.files import escapes
from maskrcnnpp.masks.measure import Measured
from maskrcnnpp.masks.rle import LARGEST_IMAGE

_ROUNDING = 0.01  # pixels that a box may reach outside
_BOX_TOLERANCE = 1.0  # pixels
_SHARED = 0.25  # of what box and mask's box cover together: less is not a box of the object
_AREA_TOLERANCE = 0.01
# Many programs store the area inside of an outline and not its pixels. By 2400 random outlines of
# 2 to 40 pixels radius the two differ by up to 0.46 times the box's width and height together; of
# slivers by a little more.
_OUTLINE_TOLERANCE = 0.5

Fault = tuple[Literal["error", "warning"], str]


def is_integer(value: Any) -> bool:
    """Whether it is an integer of JSON, which ``true`` is not, of 64 bits."""
    return type(value) is int and -(2**63) <= value < 2**63


def as_number(value: Any) -> float | None:
    """A finite number as float; None where it is anything else."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def size_fault(height: Any, width: Any) -> str:
    """Why an image cannot have this size; empty where it can."""
    for side, value in (("height", height), ("width", width)):
        if value is None:
            return f"no {side}"
        if not is_integer(value) or value <= 0:
            return f"{side} {short(value)}; an integer above 0 is needed"
    if height * width > LARGEST_IMAGE:
        return f"{width}x{height} pixels, more than masks of COCO can have; cut it into tiles"
    return ""


def file_name_fault(name: Any) -> str:
    """Why an image's ``file_name`` cannot be used; empty where it can."""
    if name is None:
        return "no file_name"
    if not isinstance(name, str) or not name.strip():
        return "file_name is not text, or an empty one"
    if "\0" in name or escapes(name):
        return "file_name leads out of the folder of images; name files relative to it"
    return ""


def box_numbers(box: Any) -> list[float] | None:
    """x, y, width and height of a ``bbox``; None where it is not four finite numbers."""
    numbers = [as_number(edge) for edge in box] if isinstance(box, list) else []
    return None if len(numbers) != 4 or None in numbers else numbers


def box_fault(box: Any, mask: Measured | None, height: int, width: int) -> Fault | None:
    """Fault of a ``bbox``, or None. ``mask`` is None, and sizes are 0, where they are not known."""
    if box is None:
        return "error", "no 'bbox'"
    numbers = box_numbers(box)
    if numbers is None:
        return "error", f"{short(box)}; four finite numbers are needed: x, y, width, height"
    x, y, wide, high = numbers
    if wide <= 0 or high <= 0:
        return "error", f"{box} is empty: {wide:g} pixels wide and {high:g} high"
    if height and not (
        min(x, y) >= -_ROUNDING and x + wide <= width + _ROUNDING and y + high <= height + _ROUNDING
    ):
        return "error", f"{box} reaches outside the image of {width}x{height} pixels"
    if mask and not mask.problem:
        left, top, mask_wide, mask_high = mask.box
        ends = left + mask_wide, top + mask_high
        off = (x - left, y - top, x + wide - ends[0], y + high - ends[1])
        if max(map(abs, off)) > _BOX_TOLERANCE:
            shared = [min(x + wide, ends[0]) - max(x, left), min(y + high, ends[1]) - max(y, top)]
            both = max(shared[0], 0) * max(shared[1], 0)
            about = f"{box} is not that of the mask, {list(mask.box)}"
            if max(map(abs, (*off[:2], wide - ends[0], high - ends[1]))) <= _BOX_TOLERANCE:
                return (
                    "error",
                    f"{about}: it has the corners, x0 y0 x1 y1, not the width and height",
                )
            if both < _SHARED * (wide * high + mask_wide * mask_high - both):
                return "error", f"{about}, by far: x, y, width and height in pixels are needed"
            return "warning", about
    return None


def area_fault(entry: Mapping, mask: Measured | None) -> Fault | None:
    """Fault of the ``area`` of an annotation, or None. ``mask`` is None where it is not known."""
    area = entry.get("area")
    if area is None:
        return "error", "no 'area'"
    number = as_number(area)
    if number is None or number <= 0:
        return "error", f"{short(area)}; a number above 0 is needed"
    if mask is None or mask.problem:
        return None
    allowed = _AREA_TOLERANCE * mask.area
    if isinstance(entry.get("segmentation"), list):
        # of a sliver, few pixels have their middle inside
        outline = np.concatenate([np.reshape(part, (-1, 2)) for part in entry["segmentation"]])
        sides = max(sum(mask.box[2:]), float(np.ptp(outline, axis=0).sum()))
        allowed = max(allowed, _OUTLINE_TOLERANCE * (sides + 2))
    if abs(number - mask.area) > allowed:
        return "warning", f"{number:g} is not that of the mask, {mask.area} pixels"
    return None


def mask_fault(entry: Mapping, mask: Measured | None) -> Fault | None:
    """Fault of a ``segmentation``, or None. ``mask`` is None where the image has no size."""
    if mask is None:
        known = entry.get("segmentation")
        return ("error", "missing: no 'segmentation'") if known is None else None
    if mask.problem:
        return "error", mask.problem
    return ("warning", mask.warning) if mask.warning else None


def is_crowd(entry: Mapping) -> bool:
    """Whether an annotation says that it is not a single object."""
    return entry.get("iscrowd") not in (None, 0, "0", "")


def all_crowds_fault(annotations: Collection[Mapping]) -> str:
    """Why nothing is to be learnt of the annotations of a file; empty where something is."""
    if annotations and all(map(is_crowd, annotations)):
        return (
            f"all {len(annotations)} are iscrowd, so that nothing is left to train on; CVAT and "
            "Datumaro write this of masks that are single objects: set it to 0, as --fix does"
        )
    return ""


def crowd_fault(entry: Mapping) -> Fault | None:
    """Fault of an ``iscrowd``, or of an ``ignore`` in its place; None where there is no fault."""
    if entry.get("ignore"):
        return "error", "it has 'ignore', which Detectron2 cannot read; use iscrowd 1 instead"
    if "iscrowd" not in entry:
        return "warning", "missing; this project takes it for 0, pycocotools does not"
    value = entry["iscrowd"]
    fine = type(value) is int and value in (0, 1)
    return None if fine else ("error", f"{short(value)}; 0 or 1 is needed")


def id_fault(entry: Mapping) -> str:
    """Fault of an entry's ``id`` that is missing or is not an integer."""
    value = entry.get("id")
    return "no id" if value is None else f"id {short(value)}; an integer is needed"
