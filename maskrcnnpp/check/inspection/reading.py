"""A COCO data set, read an image at a time, with whatever is wrong in it reported by name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.coco.rules import file_name_fault
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.data.semantic import has_label_images
from maskrcnnpp.errors import DataError
from maskrcnnpp.images import open_all_channels
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.parse import checked_rle


@dataclass(frozen=True)
class InspectedImage:
    """An image with its objects.

    Attributes:
        id, file_name: as in the COCO file.
        pixels: (height, width, channels) as the file has them, alpha too.
        is_colour: whether the channels are grey, or red, green, blue, and perhaps alpha.
        crops, numbers, category_ids: mask, place in the file's ``annotations`` and category of each
            object. Crowd regions are no objects.
    """

    id: Any
    file_name: str
    pixels: np.ndarray
    is_colour: bool
    crops: list[Crop]
    numbers: list[int]
    category_ids: list[Any]


class CocoSet:
    """The images of a COCO file that can be read.

    Attributes:
        problems: what was left out so far; read the whole set once to know all.
        crowds: annotations that mark a crowd; Detectron2 does not train on them.
        polygons: annotations whose masks are polygons, not RLE.
    """

    def __init__(self, annotations: str | os.PathLike, images: str | os.PathLike) -> None:
        """
        Args:
            annotations: the COCO file.
            images: the folder that its file names start from.

        Raises:
            DataError: the file cannot be read or has no objects but label images, or the folder is
                not there.
        """
        self.annotations, self.folder = Path(annotations), Path(images)
        self.truth = load_coco_truth(annotations)
        if has_label_images(self.truth):
            raise DataError(
                f"{annotations}: is of label images, and the page is of objects; "
                "`maskrcnnpp check` checks label images"
            )
        if not self.folder.is_dir():
            raise DataError(f"{images}: there is no such folder; name that of the images")
        self.categories: dict[Any, str] = {
            _id(c["id"]): c["name"] for c in self.truth["categories"]
        }
        self.problems = ProblemLog(skip_bad=True)
        self._check_images()
        self._check_annotations()

    @property
    def object_count(self) -> int:
        """Annotations of the file, bad ones and crowds too."""
        return len(self.truth.get("annotations", []))

    def read(self, *, progress: bool = True) -> Iterator[InspectedImage]:
        """Yield the images in the file's order without the bad ones, one in memory at a time."""
        shown = tqdm(self.images.values(), desc="images", unit="image", disable=not progress)
        for image in shown:
            try:
                read, problems = self.read_one(image["id"])
            except DataError as error:
                self.problems.add(_problem("image", image, str(error)))
            else:
                self.problems.add(*problems)
                yield read

    def read_one(self, image_id: Any) -> tuple[InspectedImage, list[Problem]]:
        """An image without its bad objects, and what is wrong with those.

        Raises:
            DataError: the image cannot be read, or is not of the size that the file says.
        """
        image = self.images[image_id]
        pixels, is_colour = _read_pixels(self.folder, image)
        kept: list[tuple[Crop, int, Any]] = []
        problems = []
        for number in self._of_image[image_id]:
            annotation = self.truth["annotations"][number]
            try:
                mask = checked_rle(annotation.get("segmentation"), *pixels.shape[:2])
            except DataError as error:
                reason = _called(annotation, number, str(error))
                problems.append(_problem("object", image, reason))
            else:
                kept.append((Crop.of_rle(mask), number, _id(annotation["category_id"])))
        crops, numbers, category_ids = (list(part) for part in zip(*kept)) if kept else ([],) * 3
        name = image["file_name"]
        read = InspectedImage(image_id, name, pixels, is_colour, crops, numbers, category_ids)
        return read, problems

    def _check_images(self) -> None:
        self.images: dict[Any, Mapping[str, Any]] = {}
        files: set[str] = set()
        for image in self.truth["images"]:
            name = image.get("file_name")
            if reason := file_name_fault(name):
                pass
            elif _id(image["id"]) in self.images:
                reason = f"two images have the id {image['id']}; give this one another"
            elif name in files:
                reason = "the file is listed twice; keep one"
            else:
                self.images[_id(image["id"])] = {**image, "id": _id(image["id"])}
                files.add(name)
                continue
            self.problems.add(_problem("image", image, reason))

    def _check_annotations(self) -> None:
        """Put the annotations that are objects in order by image."""
        self._of_image: dict[Any, list[int]] = defaultdict(list)
        self.crowds = self.polygons = 0
        listed = {_id(image["id"]) for image in self.truth["images"]}
        for number, annotation in enumerate(self.truth.get("annotations", [])):
            image_id, category = _id(annotation["image_id"]), _id(annotation["category_id"])
            image = self.images.get(image_id, {"id": image_id})
            if annotation.get("iscrowd"):
                self.crowds += 1
            elif image_id not in listed:
                reason = "its image_id is that of no image"
                self.problems.add(_problem("object", image, _called(annotation, number, reason)))
            elif category not in self.categories:
                reason = f"its category_id {category} is that of no category"
                self.problems.add(_problem("object", image, _called(annotation, number, reason)))
            else:
                self._of_image[image_id].append(number)
                self.polygons += isinstance(annotation.get("segmentation"), list)


def _read_pixels(folder: Path, image: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
    path = folder / image["file_name"]
    if not path.is_file():
        raise DataError("there is no such file in the folder of the images")
    try:
        with open_all_channels(path) as raster:
            pixels = raster.whole()
            is_colour = raster.is_colour
    except DataError as error:
        # the problem names the file already
        reason = str(error).removeprefix(str(path)).lstrip(": ")
        raise DataError(reason) from error
    height, width = pixels.shape[:2]
    if (height, width) != (image["height"], image["width"]):
        said = f"{image['height']!r} x {image['width']!r}"
        raise DataError(f"has {height} x {width} pixels; the annotations say {said}")
    if pixels.dtype.kind not in "uif":
        raise DataError(f"has pixels of the type {pixels.dtype}; numbers are needed")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError("has values that are NaN or infinite; replace them")
    return pixels, is_colour


def _called(annotation: Mapping[str, Any], number: int, reason: str) -> str:
    return f"annotation {annotation.get('id', f'number {number}')}: {reason}"


def _id(value: Any) -> int | str:
    """An id that can be looked up, whatever the file has."""
    return value if isinstance(value, (int, str)) else str(value)


def _problem(scope: str, image: Mapping[str, Any], reason: str) -> Problem:
    name = image.get("file_name")
    item = name if isinstance(name, str) and name else f"image {image['id']}"
    return Problem(scope, str(image["id"]), item, reason)


def left_out(problems: Sequence[Problem]) -> dict[str, int]:
    """Number of images and objects."""
    return {
        "images": sum(problem.scope == "image" for problem in problems),
        "objects": sum(problem.scope == "object" for problem in problems),
    }
