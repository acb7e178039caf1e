"""A copy of a COCO annotation file without the errors that :mod:`.checks` finds.

Masks are what is trusted: boxes and areas are taken from them, and an object without one is left
out. Nothing is made up: an image is left out where it cannot be known which objects are its.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from reprlib import repr as short
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from maskrcnnpp.check.validation.checks import Entries, ImageEntry, item_name
from maskrcnnpp.check.validation.files import file_size
from maskrcnnpp.check.validation.mend import mend
from maskrcnnpp.coco.rules import (
    all_crowds_fault,
    area_fault,
    box_fault,
    crowd_fault,
    file_name_fault,
    is_integer,
    size_fault,
)
from maskrcnnpp.data.semantic import has_label_images
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.measure import Measured, measure


class Repair(NamedTuple):
    """One thing that is not as it was."""

    action: Literal["left out", "changed"]
    image: str
    """File name; empty where it belongs to none."""
    item: str
    """As the findings name it: by its id in the file that is repaired."""
    reason: str


def repair(
    truth: Any, image_root: Path | None, *, progress: bool = False
) -> tuple[dict[str, Any], list[Repair]]:
    """A copy without errors, and what is not as it was.

    Args:
        truth: content of a COCO annotation file; may be anything that JSON can hold. Unchanged.
        image_root: folder of the image files; None takes sizes as they are written.
        progress: show bars of what takes more than a second.

    Raises:
        DataError: nothing would be left, or a list that is needed is missing.
    """
    fix = _Fix(image_root, progress)
    lists = {key: fix.entries(truth, key) for key in ("images", "categories", "annotations")}
    if has_label_images(truth):
        raise DataError(
            "cannot be repaired: its truth is label images, which only who made them can mend; "
            "mend them, or leave out the images, and prepare the data set again"
        )
    annotations = lists["annotations"]
    categories = fix.categories(lists["categories"] or [])
    images = fix.images(lists["images"] or [], annotations or [])
    if not categories or not images:
        what = "image" if categories else "category"
        told = "".join(f"\n  {entry.item}: {entry.reason}" for entry in fix.repairs[:5])
        raise DataError(f"cannot be repaired: no {what} would be left{told}")
    fixed = {**truth, "images": images, "categories": categories}
    if annotations is not None:
        fixed["annotations"] = fix.annotations(annotations)
    return fixed, fix.repairs


class _Fix:
    """The repairs of one file, gathered list by list."""

    def __init__(self, root: Path | None, progress: bool) -> None:
        self.repairs: list[Repair] = []
        self._root = root
        self._hide_bar = None if progress else True
        # by id as the file has it: id from now on, and the image
        self._categories: dict[int, int] = {}
        self._images: dict[int, tuple[int, ImageEntry]] = {}

    def _tell(self, action: str, item: str, reason: str, image: str = "") -> None:
        self.repairs.append(Repair(action, image, item, reason))

    def _progress(self, items: Entries, what: str) -> Iterable:
        return tqdm(items, desc=f"repairing {what}", delay=1, disable=self._hide_bar)

    def entries(self, truth: Any, key: str) -> Entries | None:
        """The entries that have keys, with their numbers; None for a file without annotations."""
        if not isinstance(truth, dict):
            raise DataError(f"cannot be repaired: it holds {short(truth)}, no object with keys")
        if key not in truth and key == "annotations":
            return None
        found = truth.get(key)
        if not isinstance(found, list):
            raise DataError(f"cannot be repaired: its {key} are not a list, but {short(found)}")
        for number, entry in enumerate(found, start=1):
            if not isinstance(entry, dict):
                self._tell("left out", f"entry {number} of {key}", f"is {short(entry)}")
        return [(n, entry) for n, entry in enumerate(found, start=1) if isinstance(entry, dict)]

    def categories(self, categories: Entries) -> list[dict]:
        """Categories that each have an id and a name of their own."""
        taken = {_as_id(entry.get("id")) for _, entry in categories}
        free = _free_ids(taken)
        by_name: dict[str, int] = {}
        kept = []
        for number, entry in categories:
            item, old, name = item_name("category", entry, number), _as_id(entry.get("id")), None
            if isinstance(entry.get("name"), str) and entry["name"].strip():
                name = entry["name"]
            if name in by_name:
                self._tell("left out", item, f"its name is that of category {by_name[name]}")
                if old is not None:
                    self._categories.setdefault(old, by_name[name])
                continue
            new = next(free) if old is None or old in self._categories else old
            if not is_integer(entry.get("id")) or new != old:
                self._tell("changed", item, f"has the id {new}, not {short(entry.get('id'))}")
            if name is None:
                name = next(n for n in _names(new) if n not in by_name)
                self._tell("changed", item, f"is named {name!r}")
            if old is not None:
                self._categories.setdefault(old, new)
            by_name[name] = new
            kept.append({**entry, "id": new, "name": name})
        return kept

    def images(self, images: Entries, annotations: Entries) -> list[dict]:
        """Images that each have an id and a file of their own, and a size."""
        named = {_as_id(entry.get("image_id")) for _, entry in annotations}
        free = _free_ids({_as_id(entry.get("id")) for _, entry in images} | named)
        by_name: dict[str, tuple[int, ImageEntry]] = {}
        claimed: set[int | None] = {None}
        kept = []
        for number, entry in self._progress(images, "images"):
            item, old, name = (
                item_name("image", entry, number), _as_id(entry.get("id")), entry.get("file_name"),
            )  # fmt: skip
            shown = name if isinstance(name, str) else ""
            is_known = old not in claimed
            claimed.add(old)
            if shown in by_name:
                reason = f"its file is that of image {by_name[shown][0]}, which has its objects now"
                self._tell("left out", item, reason, shown)
                if is_known:
                    self._images[old] = by_name[shown]
                continue
            size, fault = self._size(entry)
            if not fault and not is_known and (annotations if old is None else old in named):
                fault = "it has no id of its own, so that its objects are not known"
            if fault:
                self._tell("left out", item, fault, shown)
                continue
            new = old if is_known else next(free)
            if not is_integer(entry.get("id")) or new != old:
                reason = f"has the id {new}, not {short(entry.get('id'))}"
                self._tell("changed", item, reason, shown)
            was = entry.get("height"), entry.get("width")
            if size != was:
                reason = f"is of {size[1]}x{size[0]} pixels, not {short(was[1])}x{short(was[0])}"
                self._tell("changed", item, reason, shown)
            by_name[shown] = new, ImageEntry(shown, item, *size)
            if is_known:
                self._images[old] = by_name[shown]
            kept.append({**entry, "id": new, "height": size[0], "width": size[1]})
        return kept

    def _size(self, entry: Mapping) -> tuple[tuple[int, int], str]:
        """Height and width of an image, or why it cannot be kept."""
        name, size = entry.get("file_name"), (entry.get("height"), entry.get("width"))
        fault = file_name_fault(name)
        if not fault and self._root is not None:
            try:
                size = file_size(self._root, name)
            except DataError as error:
                fault = f"its file: {error}"
        return size, fault or size_fault(*size)

    def annotations(self, annotations: Entries) -> list[dict]:
        """Annotations with ids of their own and masks, and with the boxes and areas of these."""
        free = _free_ids({_as_id(entry.get("id")) for _, entry in annotations})
        ids: set[int] = set()
        seen: dict[tuple, str] = {}
        kept = []
        are_single = bool(all_crowds_fault([entry for _, entry in annotations]))
        for item, entry, (image_id, image), category, mask in self._with_masks(annotations):
            key = image_id, category, mask.key
            if key in seen:
                self._tell("left out", item, f"has the mask of {seen[key]}", image.name)
                continue
            seen[key] = item
            number = _as_id(entry.get("id"))
            if not number or number in ids:  # pycocotools takes 0 for no object
                number = next(free)
            ids.add(number)
            fixed = {
                **entry,
                "id": number,
                "image_id": image_id,
                "category_id": category,
                "bbox": [float(edge) for edge in mask.box],
                "area": mask.area if area_fault(entry, mask) else entry["area"],
                "iscrowd": _as_id(entry.get("iscrowd")) == 1 or entry.get("iscrowd") is True,
            }
            fixed["iscrowd"] = int(
                (fixed["iscrowd"] and not are_single) or bool(entry.get("ignore"))
            )
            fixed.pop("ignore", None)
            self._tell_changes(item, entry, fixed, image, mask)
            kept.append(fixed)
        return kept

    def _with_masks(
        self, annotations: Entries
    ) -> Iterable[tuple[str, dict, tuple[int, ImageEntry], int, Measured]]:
        """The objects of known images and categories that have a mask, or can be given one."""
        known = []
        for number, entry in annotations:
            item = item_name("annotation", entry, number)
            image = self._images.get(_as_id(entry.get("image_id")))
            category = self._categories.get(_as_id(entry.get("category_id")))
            if image is None:
                reason = f"its image, {short(entry.get('image_id'))}, is left out or not listed"
                self._tell("left out", item, reason)
            elif category is None:
                reason = f"its category, {short(entry.get('category_id'))}, is not listed"
                self._tell("left out", item, reason, image[1].name)
            else:
                known.append((item, entry, image, category))
        tasks = [(entry.get("segmentation"), *image[1][2:]) for _, entry, image, _ in known]
        masks = list(self._progress(measure(tasks), "masks"))
        bad = [row for row, mask in enumerate(masks) if mask.problem]
        mended = dict(zip(bad, mend([tasks[row] for row in bad])))
        for row, ((item, entry, image, category), mask) in enumerate(zip(known, masks)):
            if row in mended:
                segmentation, found = mended[row]
                if segmentation is None:
                    self._tell("left out", item, mask.problem, image[1].name)
                    continue
                self._tell("changed", item, f"mask mended; it was {mask.problem}", image[1].name)
                entry, mask = {**entry, "segmentation": segmentation}, found
            yield item, entry, image, category, mask

    def _tell_changes(
        self, item: str, old: Mapping, new: Mapping, image: ImageEntry, mask: Measured
    ) -> None:
        if not is_integer(old.get("id")) or old["id"] != new["id"]:
            reason = f"has the id {new['id']}, not {short(old.get('id'))}"
            self._tell("changed", item, reason, image.name)
        if fault := box_fault(old.get("bbox"), mask, image.height, image.width):
            self._tell("changed", item, f"box taken from the mask: {fault[1]}", image.name)
        if fault := area_fault(old, mask):
            self._tell("changed", item, f"area taken from the mask: {fault[1]}", image.name)
        if crowd_fault(old) or old["iscrowd"] != new["iscrowd"]:
            reason = f"iscrowd is {new['iscrowd']}, not {short(old.get('iscrowd'))}"
            self._tell("changed", item, reason, image.name)


def _as_id(value: Any) -> int | None:
    """The integer that is meant, also by 3.0 and "3"; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    return value if is_integer(value) else None


def _free_ids(taken: set) -> Iterable[int]:
    return (number for number in count(1) if number not in taken)


def _names(number: int) -> Iterable[str]:
    return (f"category {number}" + "'" * times for times in count())
