"""The images of a COCO dict with their masks, checked, one after the other."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnnpp.coco.rules import file_name_fault, size_fault
from maskrcnnpp.convert.pairing import image_name
from maskrcnnpp.convert.readers.coco_json import annotation_name
from maskrcnnpp.errors import DataError
from maskrcnnpp.images import image_kind, image_size
from maskrcnnpp.images.raster import to_be_turned
from maskrcnnpp.masks.parse import checked_rle
from maskrcnnpp.masks.rle import Rle

_REMEDY = 'mend the annotation file, or read it with the layout "coco" and --skip-bad first'


class ExportImage(NamedTuple):
    """An image and its objects, by rising annotation id."""

    name: str
    """Without suffix; no other image has it."""
    file: Path
    height: int
    width: int
    masks: tuple[Rle, ...]
    crowds: int
    """Annotations left out since they are ``iscrowd``."""


def export_images(truth: Mapping[str, Any], image_root: str | os.PathLike) -> Iterator[ExportImage]:
    """Check the lists of images and annotations at once, and masks an image at a time.

    Args:
        truth: a COCO dict, as :func:`maskrcnnpp.coco.file.load_coco_truth` reads it.
        image_root: folder in which ``file_name`` is looked up.

    Raises:
        DataError: an image or annotation cannot be exported.
    """
    files = _files(truth["images"], Path(image_root))
    of_image = _annotations(truth)
    return (
        _image(image, name, file, of_image[image["id"]])
        for image, (name, file) in zip(truth["images"], files)
    )


def _files(images: Sequence[Mapping[str, Any]], root: Path) -> list[tuple[str, Path]]:
    """A name for each image, and its file."""
    found: dict[str, Path] = {}
    folded: dict[str, str] = {}
    for image in images:
        file_name = image.get("file_name")
        fault = size_fault(image["height"], image["width"]) or file_name_fault(file_name)
        if fault:
            raise DataError(f"image {image['id']}: {fault}; {_REMEDY}")
        try:
            name = image_name(file_name)
        except DataError as error:
            raise DataError(f"image {image['id']}, {file_name}: {error}") from error
        # some systems take a.png and A.png for one file
        other = folded.setdefault(name.casefold(), file_name)
        if name in found or other != file_name:
            raise DataError(
                f"images {other} and {file_name} would both be called {name}; rename one"
            )
        if not (root / file_name).is_file():
            raise DataError(f"{root / file_name}: the image is missing; check --images")
        _check_file(root / file_name, image)
        found[name] = root / file_name
    return list(found.items())


def _check_file(file: Path, image: Mapping[str, Any]) -> None:
    """Check that an image is upright and has the size that the annotation file says."""
    if (turned_by := image_kind(file).orientation) != 1:
        raise DataError(to_be_turned(file, turned_by))
    height, width = image_size(file)
    if (height, width) != (image["height"], image["width"]):
        raise DataError(
            f"{file} has {width}x{height} pixels, and the annotation file says "
            f"{image['width']}x{image['height']}: name the folder of its images with --images"
        )


def _annotations(truth: Mapping[str, Any]) -> dict[Any, list[tuple[str, Mapping[str, Any]]]]:
    """The annotations of each image by rising id, each with what it is called in errors."""
    if "annotations" not in truth:
        raise DataError("the annotation file has no annotations; is it the list of a test set?")
    named = [*truth["images"], *truth["annotations"]]
    if not all(isinstance(entry.get("image_id", entry.get("id")), (int, str)) for entry in named):
        raise DataError(f"an id of an image is not a number or text; {_REMEDY}")
    ids = {image["id"] for image in truth["images"]}
    if len(ids) < len(truth["images"]):
        raise DataError(f"two images have one id; {_REMEDY}")
    of_image: dict[Any, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for number, annotation in enumerate(truth["annotations"]):
        name = annotation_name(annotation, number)
        if annotation["image_id"] not in ids:
            raise DataError(
                f"{name} is of image {annotation['image_id']!r}, which is not listed; {_REMEDY}"
            )
        of_image[annotation["image_id"]].append((name, annotation))
    for entries in of_image.values():
        if all(isinstance(annotation.get("id"), int) for _, annotation in entries):
            entries.sort(key=lambda entry: entry[1]["id"])
    return of_image


def _image(
    image: Mapping[str, Any],
    name: str,
    file: Path,
    annotations: Sequence[tuple[str, Mapping[str, Any]]],
) -> ExportImage:
    height, width = image["height"], image["width"]
    masks = []
    for called, annotation in annotations:
        if annotation.get("iscrowd"):
            continue
        try:
            masks.append(checked_rle(annotation.get("segmentation"), height, width))
        except DataError as error:
            raise DataError(f"{called} of {file.name} {error}; {_REMEDY}") from error
    crowds = len(annotations) - len(masks)
    return ExportImage(name, file, height, width, tuple(masks), crowds)
