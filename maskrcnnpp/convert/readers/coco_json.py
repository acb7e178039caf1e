"""The JSON file of a COCO data set, with what a reader needs of it checked."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Hashable, Mapping
from typing import Any, NamedTuple

from maskrcnnpp.coco.file import entries_of, parse_coco
from maskrcnnpp.coco.rules import is_crowd
from maskrcnnpp.convert.readers.objects import is_no_class
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError


class CocoContent(NamedTuple):
    """The lists of the file. An image has an ``id`` that can be a key; no more is checked."""

    images: list[Mapping[str, Any]]
    categories: list[Mapping[str, Any]]
    annotations: list[Mapping[str, Any]]


def read_coco(files: FileSource, name: str) -> CocoContent:
    """Read an annotation file.

    Raises:
        DataError: it cannot be read, is not COCO, lists no image, or has no masks.
    """
    where = f"{files.path}: {name}"
    try:
        content = parse_coco(files.read(name), where, _packed)
    except DataError as error:
        named = str(error).removeprefix(f"{where}: ")
        raise DataError(f"{where}: {named}; name another file with --annotations") from error
    if "annotations" not in content:
        raise DataError(f"{where}: has no annotations; is it the list of a test set?")
    for kind, entries in content.items():
        if isinstance(entries, dict) and kind in CocoContent._fields:  # some files have them by id
            content[kind] = list(entries.values())
    images, categories, annotations = (
        entries_of(content, kind, where) for kind in CocoContent._fields
    )
    for number, image in enumerate(images):
        if image.get("id") is None or not isinstance(image["id"], Hashable):
            raise DataError(f'{where}: image number {number} of the list has no "id"')
    if not images:
        raise DataError(f"{where}: lists no image")
    if annotations and not any(annotation.get("segmentation") for annotation in annotations):
        raise DataError(f"{where}: has boxes without masks; this project needs masks")
    return CocoContent(images, categories, annotations)


def are_all_crowds(annotations: Collection[Mapping[str, Any]]) -> bool:
    """Whether all say so, and there is one at least. CVAT and Datumaro write this of masks."""
    return bool(annotations) and all(map(is_crowd, annotations))


def real_categories(
    content: CocoContent,
) -> tuple[list[Mapping[str, Any]], dict[int, str]]:
    """The categories of objects, and ids and names of those that stand for no object.

    These are called so, or are one that no annotation has and that holds the others, as the
    category 0 of Roboflow, which is the name of the project.
    """
    used = {
        number
        for annotation in content.annotations
        if isinstance(number := annotation.get("category_id"), Hashable)
    }
    above = {category.get("supercategory") for category in content.categories
             if isinstance(category.get("supercategory"), str)}  # fmt: skip
    others = {}
    for category in content.categories:
        number, name = category.get("id"), category.get("name")
        if not isinstance(name, str) or not isinstance(number, int):
            continue
        is_unused = number == 0 and number not in used and (name in above or name == "background")
        if is_no_class(name) or is_unused:
            others[number] = name
    kept = [category for category in content.categories if category.get("id") not in others]
    return (kept, others) if kept else (content.categories, {})


def renumbered(
    categories: list[Mapping[str, Any]], where: str
) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Categories numbered from 1 in order of their ids, and the new number of each id.

    Raises:
        DataError: there is none, one has no integer as id or no name, or two have the same.
    """
    for category in categories:
        number, name = category.get("id"), category.get("name")
        if not isinstance(number, int) or isinstance(number, bool):
            raise DataError(f"{where}: the category {name!r} has no integer as id: {number!r}")
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{where}: category {number} has no name")
    if not categories:
        raise DataError(f"{where}: lists no category; it takes one at least, such as nucleus")
    ordered = sorted(categories, key=lambda category: category["id"])
    for first, second in zip(ordered, ordered[1:]):
        if first["id"] == second["id"]:
            raise DataError(
                f"{where}: {first['name']!r} and {second['name']!r} have the same category id "
                f"{first['id']}; give one another id"
            )
    seen: dict[str, int] = {}
    for category in ordered:
        other = seen.setdefault(category["name"], category["id"])
        if other != category["id"]:
            raise DataError(
                f"{where}: categories {other} and {category['id']} are both called "
                f"{category['name']!r}; rename one, or make them one"
            )
    written = [{"id": k, "name": category["name"]} for k, category in enumerate(ordered, start=1)]
    return written, {category["id"]: k for k, category in enumerate(ordered, start=1)}


def annotation_name(annotation: Mapping[str, Any], number: int) -> str:
    """Name of an annotation in problem reports.

    Args:
        annotation: of the file.
        number: its place in the list, from 0, for one without id.
    """
    if annotation.get("id") is None:
        return f"annotation number {number} of the list"
    return f"annotation {annotation['id']}"


def _packed(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with its long lists as arrays: a quarter of their memory."""
    rings, counts = entry.get("segmentation"), entry.get("counts")
    if isinstance(rings, list):
        entry["segmentation"] = [_array("d", ring) for ring in rings]
    if isinstance(counts, list):
        entry["counts"] = _array("q", counts)
    return entry


def _array(kind: str, numbers: Any) -> Any:
    if not isinstance(numbers, list):
        return numbers
    try:
        return array(kind, numbers)
    except (TypeError, OverflowError):  # reported when it is made a mask
        return numbers
