"""COCO annotation files, read."""

from __future__ import annotations

import json
import os
from typing import Any

from maskrcnnpp.errors import DataError

_IMAGE_KEYS = ("id", "height", "width")
_CATEGORY_KEYS = ("id", "name")
#: What the metrics need of an annotation, beside its mask.
ANNOTATION_KEYS = ("image_id", "category_id", "bbox", "area")


def load_coco_truth(path: str | os.PathLike) -> dict[str, Any]:
    """Read a COCO annotation file and check what the metric needs of it.

    Returns:
        The file's dict. ``annotations`` is missing when the file has none (a test set).

    Raises:
        DataError: the file cannot be read, is not COCO, or an annotation lacks a needed key.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            truth = json.load(handle)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a COCO annotation file: {error}") from error
    if not isinstance(truth, dict) or not {"images", "categories"} <= truth.keys():
        raise DataError(f"{path}: not a COCO annotation file: no 'images' or no 'categories'")
    needs = (
        ("images", "image", _IMAGE_KEYS),
        ("annotations", "annotation", ANNOTATION_KEYS),
        ("categories", "category", _CATEGORY_KEYS),
    )
    for kind, what, keys in needs:
        for number, entry in enumerate(truth.get(kind, [])):
            if not isinstance(entry, dict):
                raise DataError(f"{path}: {what} number {number} is no object with keys")
            if missing := [key for key in keys if key not in entry]:
                name = entry.get("id", f"number {number}")
                raise DataError(f"{path}: {what} {name} has no {missing[0]!r}")
    return truth
