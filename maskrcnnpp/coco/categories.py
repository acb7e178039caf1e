"""Categories of the objects in this project's data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NUCLEUS_ID = 1
NUCLEUS_CATEGORIES: list[dict[str, Any]] = [{"id": NUCLEUS_ID, "name": "nucleus"}]
"""The ``categories`` list of the COCO files."""


def class_metadata(categories: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Class names and numbers of a COCO file's ``categories``, as Detectron2's metadata has them.

    Detectron2 has them only once the data has been loaded, and its numbers are needed without: the
    model's 0, 1, ... stand for the categories in the order of their ids.
    """
    ordered = sorted(categories, key=lambda category: category["id"])
    return {
        "thing_classes": [category["name"] for category in ordered],
        "thing_dataset_id_to_contiguous_id": {
            category["id"]: number for number, category in enumerate(ordered)
        },
    }


def classes_fault(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Why class k of one data set cannot be class k of another.

    A name that only one of them has may be another word for the same class: no fault.

    Returns:
        the name whose numbers differ, in words; empty where there is none. Case does not count.
    """
    if are_same_names(ours, theirs):
        return ""
    numbers = {_plain(name): number for number, name in enumerate(ours)}
    for number, name in enumerate(theirs):
        other = numbers.get(_plain(name), number)
        if other != number:
            return f"{name!r} is class {other + 1} of the former and {number + 1} of the latter"
    return ""


def are_same_names(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order. Case does not count."""
    return list(map(_plain, ours)) == list(map(_plain, theirs))


def numbers_of_names(ours: Sequence[str], theirs: Sequence[str]) -> list[int] | None:
    """For each class of ``ours`` its number in ``theirs``; None unless both have the same names."""
    numbers = {_plain(name): number for number, name in enumerate(theirs)}
    found = [numbers.get(_plain(name)) for name in ours]
    if None in found or len(set(found)) < len(theirs):
        return None
    return found


def _plain(name: Any) -> str:
    return str(name).strip().casefold()
