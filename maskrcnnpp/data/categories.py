"""What the objects of this project's data sets are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NUCLEUS_ID = 1
NUCLEUS_CATEGORIES: list[dict[str, Any]] = [{"id": NUCLEUS_ID, "name": "nucleus"}]
"""The ``categories`` list of the COCO files."""


def class_metadata(categories: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What Detectron2's metadata says of the ``categories`` of a COCO file.

    Detectron2 says it only once the data has been loaded, and its numbers are needed without: the
    model's 0, 1, ... stand for the categories in the order of their ids.
    """
    ordered = sorted(categories, key=lambda category: category["id"])
    return {
        "thing_classes": [category["name"] for category in ordered],
        "thing_dataset_id_to_contiguous_id": {
            category["id"]: number for number, category in enumerate(ordered)
        },
    }
