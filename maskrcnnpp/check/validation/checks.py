"""Faults of a COCO annotation file, all of them at once.

The kinds of findings are :data:`KINDS`. An error stops a training, an evaluation or a tool, or
falsifies it; a warning may be as it should.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from maskrcnnpp.check.validation.files import file_size
from maskrcnnpp.check.validation.label_images import label_faults
from maskrcnnpp.coco.loadable import check_loadable
from maskrcnnpp.coco.rules import (
    all_crowds_fault,
    area_fault,
    box_fault,
    crowd_fault,
    file_name_fault,
    id_fault,
    is_integer,
    mask_fault,
    size_fault,
)
from maskrcnnpp.data.semantic import category_ids_fault, has_label_images
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.measure import measure
from maskrcnnpp.masks.pieces import FEW

STRUCTURE = "structure"
IDS = "ids"
SIZES = "sizes"
BOXES = "boxes"
AREAS = "areas"
SEGMENTATIONS = "segmentations"
PIECES = "pieces"
DUPLICATES = "duplicates"
ISCROWD = "iscrowd"
CATEGORIES = "categories"
EMPTY_IMAGES = "empty images"
MANY_OBJECTS = "many objects"
LABEL_IMAGES = "label images"

KINDS = {
    STRUCTURE: "no object with lists of images, annotations and categories; no image",
    IDS: "of images and annotations: missing, no integers, duplicate, or of what is not there",
    SIZES: "of images: missing, impossible, not those of the file; files missing or named twice",
    BOXES: "no box, empty, outside the image, corners, or not quite that of the mask (warning)",
    AREAS: "missing, no number above 0, or not that of the mask by more than 1 % (warning)",
    SEGMENTATIONS: "missing, empty, broken, outside; outline crosses itself (warning)",
    PIECES: "objects in many pieces, or most of them in several (warning)",
    DUPLICATES: "objects of the same image, category and mask",
    ISCROWD: "other than 0 and 1, in all annotations, or missing (warning); 'ignore'",
    CATEGORIES: "none, no integer ids, ids or names twice; unused, or ids not 1..n (warnings)",
    EMPTY_IMAGES: "images without an annotation (warning)",
    MANY_OBJECTS: "images with more objects than the evaluator counts detections (warning)",
    LABEL_IMAGES: "missing, unreadable, of another size or labels; a class in none (warning)",
}
"""The kinds of findings, in the order of a report, and what each stands for."""

MAX_DETS = 500
Severity = Literal["error", "warning"]
Entries = Sequence[tuple[int, dict]]  # of a list, with their numbers from 1


class Finding(NamedTuple):
    """One thing that is wrong, or may be."""

    kind: str
    """One of :data:`KINDS`."""
    severity: Severity
    image: str
    """File name of the image that it belongs to; empty where it belongs to none."""
    item: str
    """Such as "annotation 17": by its id or, where that is useless, its number in the list."""
    reason: str


class ImageEntry(NamedTuple):
    """An image of the file. ``height`` and ``width`` are 0 where they are not known."""

    name: str
    item: str
    height: int
    width: int


def validate(
    truth: Any,
    image_root: Path | None,
    *,
    label_root: Path | None = None,
    max_dets: int = MAX_DETS,
    progress: bool = False,
) -> list[Finding]:
    """Everything that is wrong with the content of a COCO annotation file.

    Args:
        truth: the content; may be anything that JSON can hold.
        image_root: folder of the image files; None leaves these out.
        label_root: folder of the annotation file, from which that of a semantic data set names its
            label images; None leaves these out.
        max_dets: detections of an image that the evaluator counts.
        progress: show bars of what takes more than a second.

    Returns:
        by kind, in the order of :data:`KINDS`; errors first, then in the order of the file.
    """
    check = _Check(progress)
    if not isinstance(truth, dict):
        check.add(STRUCTURE, "the file", f"holds {short(truth)}, where an object with keys is due")
        return check.findings
    lists = {key: check.entries(truth, key) for key in ("images", "categories", "annotations")}
    is_semantic = has_label_images(truth)
    if "annotations" not in truth and not is_semantic:
        reason = "missing: objects are not checked"
        check.add(STRUCTURE, "annotations", reason, severity="warning")
    categories = check.categories(lists["categories"] or [])
    images = check.images(lists["images"] or [], image_root)
    if lists["annotations"] is not None:
        check.annotations(lists["annotations"], images, categories, max_dets)
    if is_semantic:
        check.label_images(lists["images"] or [], categories, label_root)
    if not any(finding.severity == "error" for finding in check.findings):
        try:  # what a training would say
            check_loadable("the file", truth)
        except DataError as error:
            check.add(STRUCTURE, "the file", str(error).removeprefix("the file: "))
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(check.findings, key=lambda found: (order[found.kind], found.severity))


class _Check:
    """The findings of one file, gathered list by list."""

    def __init__(self, progress: bool) -> None:
        self.findings: list[Finding] = []
        self._bar: Callable = lambda items, **about: tqdm(
            items, **about, delay=1, disable=None if progress else True
        )

    def add(
        self, kind: str, item: str, reason: str, *, image: str = "", severity: Severity = "error"
    ) -> None:
        self.findings.append(Finding(kind, severity, image, item, reason))

    def entries(self, truth: Mapping, key: str) -> Entries | None:
        """The entries of a list that have keys, numbered; None where there is no such list."""
        if key not in truth and key == "annotations":
            return None
        found = truth.get(key)
        if not isinstance(found, list):
            self.add(STRUCTURE, key, "missing" if found is None else f"no list: {short(found)}")
            return None
        if not found and key == "images":
            self.add(STRUCTURE, key, "the file lists no image")
        for number, entry in enumerate(found, start=1):
            if not isinstance(entry, dict):
                item = f"entry {number} of {key}"
                self.add(STRUCTURE, item, f"no object with keys, but {short(entry)}")
        return [(n, entry) for n, entry in enumerate(found, start=1) if isinstance(entry, dict)]

    def categories(self, categories: Entries) -> dict[int, str]:
        """Names for messages by id, of those that have one."""
        if not categories:
            self.add(CATEGORIES, "categories", "none: list at least one, with an id and a name")
        ids: dict[int, str] = {}
        names: Counter = Counter()
        for number, category in categories:
            item, name = item_name("category", category, number), category.get("name")
            if not is_integer(category.get("id")):
                self.add(CATEGORIES, item, id_fault(category))
            elif category["id"] in ids:
                self.add(CATEGORIES, item, "its id is that of another category")
            else:
                ids[category["id"]] = item
            if not isinstance(name, str) or not name.strip():
                self.add(CATEGORIES, item, "no name, or one that is not text")
                continue
            if names[name]:
                self.add(CATEGORIES, item, f"its name {short(name)} is that of another category")
            names[name] += 1
        if ids and sorted(ids) != list(range(1, len(ids) + 1)):
            reason = f"ids are not 1 to {len(ids)}: {short(sorted(ids))}; Detectron2 renumbers them"
            self.add(CATEGORIES, "categories", reason, severity="warning")
        return ids

    def images(self, images: Entries, root: Path | None) -> dict[int, ImageEntry]:
        """The images by id, of those that have one."""
        found: dict[int, ImageEntry] = {}
        names: set[str] = set()
        for number, image in self._bar(images, desc="images", unit="image"):
            item, name = item_name("image", image, number), image.get("file_name")
            shown = name if isinstance(name, str) else ""
            height, width = image.get("height"), image.get("width")
            faults = [size_fault(height, width), file_name_fault(name)]
            if not faults[1] and root is not None:
                faults.append(_file_fault(root, name, (height, width), is_known=not faults[0]))
            if shown in names:
                faults.append("its file_name is that of another image")
            if shown:
                names.add(shown)
            for fault in filter(None, faults):
                self.add(SIZES, item, fault, image=shown)
            if not is_integer(image.get("id")):
                self.add(IDS, item, id_fault(image), image=shown)
            elif image["id"] in found:
                self.add(IDS, item, "its id is that of another image", image=shown)
            else:
                size = (0, 0) if faults[0] else (height, width)
                found[image["id"]] = ImageEntry(shown, item, *size)
        return found

    def label_images(
        self, images: Entries, categories: Mapping[int, str], root: Path | None
    ) -> None:
        """Check the truth of a semantic data set."""
        if fault := category_ids_fault(categories):
            self.add(CATEGORIES, "categories", fault)
            return
        if root is None:
            return
        found: Counter = Counter()
        entries = dict(images)
        bar = self._bar(images, desc="label images", unit="image")
        for number, fault in label_faults(bar, len(categories), root, found):
            name = entries[number].get("file_name")
            item = item_name("image", entries[number], number)
            self.add(LABEL_IMAGES, item, fault, image=name if isinstance(name, str) else "")
        for label, item in categories.items():
            if not found[label]:
                self.add(LABEL_IMAGES, item, "no pixel is of it", severity="warning")

    def annotations(
        self,
        annotations: Entries,
        images: Mapping[int, ImageEntry],
        categories: Mapping[int, str],
        max_dets: int,
    ) -> None:
        """Check the objects, and images and categories for how many they have."""
        ids: set[int] = set()
        objects: Counter = Counter()
        used: set = set()
        seen: dict[tuple, str] = {}
        owners = [images.get(_key(entry.get("image_id"))) for _, entry in annotations]
        masks = measure(
            (entry.get("segmentation"), owner.height, owner.width)
            for (_, entry), owner in zip(annotations, owners)
            if owner and owner.height
        )
        pieces: list[tuple[str, str, int]] = []
        bar = self._bar(annotations, desc="annotations", unit="object")
        for (number, entry), owner in zip(bar, owners):
            item, image = item_name("annotation", entry, number), owner.name if owner else ""
            if _key(entry.get("id")) in ids:
                item += f" (no. {number})"
            self._annotation_ids(entry, item, image, ids, owner, categories)
            objects[_key(entry.get("image_id"))] += 1
            used.add(_key(entry.get("category_id")))
            mask = next(masks) if owner and owner.height else None
            size = owner[2:] if owner else (0, 0)
            for kind, fault in (
                (BOXES, box_fault(entry.get("bbox"), mask, *size)),
                (AREAS, area_fault(entry, mask)),
                (SEGMENTATIONS, mask_fault(entry, mask)),
                (ISCROWD, crowd_fault(entry)),
            ):
                if fault:
                    self.add(kind, item, fault[1], image=image, severity=fault[0])
            pieces.append((item, image, mask.pieces if mask else 1))
            if mask and mask.key:
                of = entry["image_id"], _key(entry.get("category_id")), mask.key
                if of in seen:
                    self.add(DUPLICATES, item, f"has the mask of {seen[of]}", image=image)
                seen.setdefault(of, item)
        self._pieces(pieces)
        if fault := all_crowds_fault([entry for _, entry in annotations]):
            self.add(ISCROWD, "annotations", fault)
        self._counts(objects, used, images, categories, max_dets)

    def _pieces(self, found: Sequence[tuple[str, str, int]]) -> None:
        """Objects that may be many: all of two pieces where they are most, else those of many."""
        are_most = 2 * sum(count > 1 for *_, count in found) > len(found)
        for item, image, count in found:
            if count > (1 if are_most else FEW):
                reason = f"in {count} pieces: is it a single object?"
                self.add(PIECES, item, reason, image=image, severity="warning")

    def _annotation_ids(
        self,
        entry: dict,
        item: str,
        image: str,
        ids: set[int],
        owner: ImageEntry | None,
        categories: Mapping[int, str],
    ) -> None:
        number = entry.get("id")
        if not is_integer(number):
            self.add(IDS, item, id_fault(entry), image=image)
        elif number in ids:
            self.add(IDS, item, "its id is that of another annotation", image=image)
        elif number == 0:
            reason = "id 0, which pycocotools takes for no object when it matches; begin with 1"
            self.add(IDS, item, reason, image=image, severity="warning")
        if is_integer(number):
            ids.add(number)
        category = categories.get(_key(entry.get("category_id")))
        for what, known in (("image", owner), ("category", category)):
            if known is None:
                value = entry.get(f"{what}_id")
                reason = f"of {what} {short(value)}, not listed"
                self.add(IDS, item, f"no {what}_id" if value is None else reason, image=image)

    def _counts(
        self,
        objects: Counter,
        used: set,
        images: Mapping[int, ImageEntry],
        categories: Mapping[int, str],
        max_dets: int,
    ) -> None:
        for number, image in images.items():
            about = {"image": image.name, "severity": "warning"}
            if not objects[number]:
                self.add(EMPTY_IMAGES, image.item, "no annotation", **about)
            if objects[number] > max_dets:
                reason = f"{objects[number]} objects, and the evaluator counts {max_dets} an image"
                self.add(MANY_OBJECTS, image.item, reason, **about)
        for number, item in categories.items():
            if number not in used:
                self.add(CATEGORIES, item, "no annotation is of it", severity="warning")


def item_name(what: str, entry: Mapping, number: int) -> str:
    """An entry as findings name it, such as "image 3"."""
    return f"{what} {entry['id']}" if is_integer(entry.get("id")) else f"{what} no. {number}"


def _key(value: Any) -> int | None:
    """The value if it can be an id, else None."""
    return value if is_integer(value) else None


def _file_fault(root: Path, name: str, size: tuple[Any, Any], *, is_known: bool) -> str:
    try:
        height, width = file_size(root, name)
    except DataError as error:
        return f"its file: {error}"
    if is_known and (height, width) != size:
        return f"{size[1]}x{size[0]} pixels, but its file has {width}x{height}"
    return ""
