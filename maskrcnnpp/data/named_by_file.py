"""Data sets that are named by their file: ``DATASETS.TRAIN "('my.json:images',)"``."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from maskrcnnpp.coco.categories import class_metadata
from maskrcnnpp.coco.file import load_coco_truth, load_records, validate_hint
from maskrcnnpp.coco.loadable import check_loadable, missing_files
from maskrcnnpp.coco.rules import all_crowds_fault
from maskrcnnpp.data.catalog import register_dataset
from maskrcnnpp.data.semantic import (
    IGNORED,
    check_semantic_file,
    has_label_images,
    with_label_files,
)
from maskrcnnpp.errors import DataError

_NAME = re.compile(r"(?P<file>.+\.json)(?::(?P<images>.+))?")
_UNSAFE = re.compile(r"[^\w.=+-]+")
# file systems take 255 bytes; a character has up to 4
_STEM_CHARACTERS = 60
_DIGITS = 8
_SHOWN = 3
_LOOKED_FOR = 20  # images, to tell the folder of all


def register_file(name: str) -> bool:
    """Make a data set known to Detectron2 that is named by its files.

    Args:
        name: ``FILE.json:FOLDER``, COCO annotations and the folder of their images. Without a
            folder that is the first of these in which the first image lies: ``images`` beside the
            file, ``images`` above it (as ``annotations/`` and ``images/`` of this project's
            converters), the folder of the file, the one above.

    Returns:
        whether the name is of this form. One that is known already stays as it is.

    Raises:
        DataError: the file cannot be loaded, or images are not there.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    if name in DatasetCatalog:
        return True
    file = Path(match["file"])
    places = [Path(match["images"])] if match["images"] else _places(file)
    if match["images"] and not os.path.isdir(places[0]):
        raise DataError(
            f"{name}: {places[0]} is not a folder; name that of the images: {file}:FOLDER"
        )
    try:
        truth = load_coco_truth(file)
        check_loadable(file, truth)
        if has_label_images(truth):
            check_semantic_file(file, truth)
        root = _find_images(file, truth, places)
    except DataError as error:
        if isinstance(error.__cause__, (OSError, ValueError)):  # not there, or no JSON
            raise
        guess = next(filter(os.path.isdir, places), places[0])
        raise DataError(f"{error}\n{validate_hint(file, guess)}") from error
    _register(name, file, root, truth)
    return True


def check_has_objects(name: str) -> None:
    """Check that a data set that is named by its file has something to learn. Others pass.

    Raises:
        DataError: it has no annotation, or only such of crowds.
    """
    if MetadataCatalog.get(name).get("objects") == 0:
        metadata = MetadataCatalog.get(name)
        crowds = all_crowds_fault(load_coco_truth(metadata.json_file).get("annotations", []))
        raise _unfit(name, f"no object to train on: {crowds or 'there is no annotation'}")


def check_has_masks(name: str, *, or_boxes_alone: bool = False) -> None:
    """Check that all objects of a data set that is named by its file have masks. Others pass.

    Args:
        or_boxes_alone: a file that mentions no mask at all passes too.

    Raises:
        DataError: some have none.
    """
    metadata = MetadataCatalog.get(name)
    if or_boxes_alone and not metadata.get("mentions_masks"):
        return
    if count := metadata.get("without_mask"):
        raise _unfit(
            name, f"{count} annotation(s) without segmentation, which the model is to learn"
        )


def _unfit(name: str, reason: str) -> DataError:
    metadata = MetadataCatalog.get(name)
    hint = validate_hint(metadata.json_file, metadata.image_root)
    return DataError(f"{metadata.json_file}: {reason}\n{hint}")


def known_classes(name: str) -> Mapping[str, Any]:
    """Metadata of the classes of a data set as :func:`class_metadata` has it, as far as known.

    The images of a data set that is named by its file need not be there.

    Raises:
        DataError: the file cannot be read.
    """
    match = _NAME.fullmatch(name)
    if match is not None and name not in DatasetCatalog:
        return class_metadata(load_coco_truth(match["file"])["categories"])
    register_dataset(name)
    return MetadataCatalog.get(name).as_dict() if name in MetadataCatalog.list() else {}


def folder_name(dataset: str) -> str:
    """Name of the folder of a data set's results.

    It is the name of the data set. For one that is named by its file, it is the stem of the file
    and 8 digits that stand for the whole name, which may be too long for a folder.
    """
    match = _NAME.fullmatch(dataset)
    if match is None:
        return dataset
    stem = _UNSAFE.sub("_", Path(match["file"]).stem)[:_STEM_CHARACTERS]
    return f"{stem}_{hashlib.sha256(os.fsencode(dataset)).hexdigest()[:_DIGITS]}"


def _places(file: Path) -> list[Path]:
    """Where the images of a file may be, the likeliest first."""
    above = Path(os.path.normpath(file.parent / ".."))
    return [file.parent / "images", above / "images", file.parent, above]


def _find_images(file: Path, truth: Mapping[str, Any], places: Sequence[Path]) -> Path:
    """The place that has most of a few of the images, and then needs to have all.

    Raises:
        DataError: images are not there. The message says how to name their folder.
    """
    names = [image["file_name"] for image in truth["images"]]
    few = names[:: max(1, len(names) // _LOOKED_FOR)]
    root = max(places, key=lambda place: sum(os.path.isfile(place / name) for name in few))
    missing = missing_files(root, names)
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        others = [place for place in places if place != root]
        if others and len(missing) == len(names):
            shown += f" (nor in {', '.join(map(str, others))})"
        raise DataError(
            f"{file}: of {len(names)} images, {len(missing)} are not in {root}: {shown}; name the "
            f"folder that has them: {file}:FOLDER"
        )
    return root


def _register(name: str, file: Path, root: Path, truth: Mapping[str, Any]) -> None:
    annotations = truth.get("annotations", [])
    objects = [entry for entry in annotations if not entry.get("iscrowd")]
    has_rle = any(isinstance(entry.get("segmentation"), dict) for entry in annotations)
    is_semantic = has_label_images(truth)

    def load() -> list[dict]:
        records = load_records(file, root, name)
        return with_label_files(records, file, truth) if is_semantic else records

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        json_file=str(file),
        image_root=str(root),
        evaluator_type="sem_seg" if is_semantic else "coco",
        objects=len(objects),
        without_mask=sum(not entry.get("segmentation") for entry in objects),
        mentions_masks=any("segmentation" in entry for entry in annotations),
        **class_metadata(truth["categories"]),
        **(_of_semantic_evaluator(truth) if is_semantic else {}),
        **({"mask_format": "bitmask"} if has_rle else {}),
    )


def _of_semantic_evaluator(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata for Detectron2's evaluator of semantic segmentation; label 0 is a class to it."""
    names = {category["id"]: category["name"] for category in truth["categories"]}
    classes = ["background", *(names[label] for label in sorted(names))]
    return {"stuff_classes": classes, "ignore_label": IGNORED}
