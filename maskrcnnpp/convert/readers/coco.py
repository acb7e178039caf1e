"""Reader of COCO data sets: a JSON file with polygons or RLE, and its images.

    annotations.json        images, categories, annotations
    images/a.png            anywhere in the source, called as file_name says

The JSON file lists the images: others in the source are not of the data set. Where their paths are
those of another machine, what counts is how they end.

A polygon inside another of the same object is a hole, as most programs mean it that write one; COCO
itself fills it. Where all annotations are ``iscrowd``, as CVAT writes masks, they are single
objects. Both are notes, and so is an area that is not that of the mask. Categories for what is no
object (``_background_``, Roboflow's category 0) are left out.
"""

from __future__ import annotations

import functools
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

from maskrcnnpp.coco.rules import as_number, is_crowd
from maskrcnnpp.convert.pairing import IMAGE_SUFFIXES, Lookup, choose_file, image_name
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.coco_json import (
    annotation_name,
    are_all_crowds,
    read_coco,
    real_categories,
    renumbered,
)
from maskrcnnpp.convert.readers.decode import decode_image, make_sample
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.readers.label_names import find_pairs
from maskrcnnpp.convert.readers.objects import NotAnObject, Region, check_inside
from maskrcnnpp.convert.source import FileSource, is_hidden
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.companions import LABEL_ENDINGS
from maskrcnnpp.masks.parse import OutsideError, mask_with_holes

# of other programs, beside images
_OTHER_JSON = {"dataset_description", "info", "meta", "metadata", "package", "readme"}
_OTHER_SUFFIXES = {".geojson", ".xml", ".mat", ".roi", ".zip", ".npy", ".npz"}


_AREA_TOLERANCE = 0.1  # of the pixels; outlines of small objects enclose some percent less


class CocoObject(NamedTuple):
    """An annotation of an image."""

    item: str
    """What it is called in problems."""
    category: int | None
    """Of those written; None when the file has no such category."""
    content: Mapping[str, Any]


class CocoImage(NamedTuple):
    """An image and its annotations."""

    name: str
    file: str
    """Name in the source."""
    size: tuple[Any, Any]
    """Height and width as the JSON file says; None where it says nothing."""
    objects: tuple[CocoObject, ...]


class CocoReader(Reader):
    """Images and masks of a COCO annotation file.

    Categories keep their names and are numbered from 1. An object that is ``iscrowd`` stands for
    several and is left out, as is one without a mask that can be used; an image is left out that
    is missing or has another size than the file says. Each adds a problem to the log.
    """

    def __init__(
        self,
        source: str | os.PathLike,
        problems: ProblemLog,
        *,
        annotations: str | None = None,
        images: str | None = None,
    ) -> None:
        """
        Args:
            source, problems: see :class:`Reader`.
            annotations: the JSON file, as the source names it; needed where there are several.
            images: folder of the source in which ``file_name`` is looked up. None looks for a file
                whose path ends so, then for one of this name alone.

        Raises:
            DataError: see :class:`Reader`; or the JSON file cannot be read, has no masks, or two
                categories of one name.
        """
        super().__init__(source, problems)
        with FileSource(source) as files:
            there = list_files(files, problems)
            self._file = choose_file(self.source, there, ".json", "--annotations", annotations)
            content = read_coco(files, self._file)
        kept, self._no_objects = real_categories(content)
        self.categories, self._numbers = renumbered(kept, f"{self.source}: {self._file}")
        #: Whether ``iscrowd`` says nothing.
        self._are_single = are_all_crowds(content.annotations)
        if self._are_single:
            reason = (
                f"all {len(content.annotations)} annotations are iscrowd, as CVAT writes masks: "
                "they are taken for single objects"
            )
            problems.add(Problem("note", "", self._file, reason))
        self._lookup = Lookup(there, IMAGE_SUFFIXES, folder=images, source=self.source)
        self._found: dict[str, str] = {}
        self._index(content.images)
        self._annotations = self._by_image(content.annotations, content.images)

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        shown = [PurePosixPath(name) for name in names if not is_hidden(name)]
        images = {path.stem for path in shown if path.suffix.lower() in IMAGE_SUFFIXES}
        files = {path.stem for path in shown if path.suffix.lower() == ".json"} - _OTHER_JSON
        # a file for each image is of other programs, and masks that are images are masks themselves
        is_one_for_all = bool(images and files) and not files & images
        has_others = (
            any(path.parts[0] == "labelsTr" for path in shown)  # of nnU-Net
            or any(path.suffix.lower() in _OTHER_SUFFIXES for path in shown)
            or Dsb2018Reader.fits(names)
            or any(find_pairs(names, LABEL_ENDINGS))
        )
        return is_one_for_all and not has_others

    def entry(self, name: str) -> CocoImage | Problem:
        image = self._entries[name]
        if isinstance(image, Problem):
            return image
        objects = [
            CocoObject(
                f"{self._file}: {annotation_name(annotation, number)}",
                self._number(annotation.get("category_id")),
                annotation,
            )
            for number, annotation in self._annotations.get(image["id"], ())
        ]
        size = image.get("height"), image.get("width")
        return CocoImage(name, self._found[name], size, tuple(objects))

    @property
    def decoder(self) -> Decoder:
        return functools.partial(_decode, no_objects=self._no_objects, are_single=self._are_single)

    def _number(self, category: Any) -> int | None:
        return self._numbers.get(category) if isinstance(category, Hashable) else None

    def _index(self, images: list[Mapping[str, Any]]) -> None:
        """Find the file of each image, or what is wrong with it."""
        ids = Counter(image["id"] for image in images)
        found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        bad: list[tuple[Mapping[str, Any], str]] = []
        for image in images:
            try:
                if ids[image["id"]] > 1:
                    raise DataError(f"{ids[image['id']]} images have its id, {image['id']!r}")
                found[self._lookup.find(image.get("file_name"))].append(image)
            except DataError as error:
                bad.append((image, str(error)))
        for file, of_file in found.items():
            try:
                if len(of_file) > 1:
                    raise DataError(f"{len(of_file)} images are this one file; keep one")
                name = image_name(file)
                if name in self._entries:
                    other = self._found[name]
                    raise DataError(
                        f"two images would be called {name}: this and {other}; rename one"
                    )
            except DataError as error:
                bad += [(image, str(error)) for image in of_file]
                continue
            self._entries[name] = of_file[0]
            self._found[name] = file
        for image, reason in bad:
            self._leave_out(image, reason)

    def _leave_out(self, image: Mapping[str, Any], reason: str) -> None:
        file = image.get("file_name")
        known = file if isinstance(file, str) and file else f"image {image['id']!r}"
        try:
            name = image_name(known)
        except DataError:
            name = known
        if name in self._entries:  # names of bad ones need only differ
            name = f"{known} ({len(self._entries)})"
        self._entries[name] = Problem("image", name, f"{self._file}: {known}", reason)

    def _by_image(
        self, annotations: list[Mapping[str, Any]], images: list[Mapping[str, Any]]
    ) -> dict[Any, list[tuple[int, Mapping[str, Any]]]]:
        """The annotations of each image, each with its place in the list."""
        of_image: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {
            image["id"]: [] for image in images
        }
        for number, annotation in enumerate(annotations):
            image = annotation.get("image_id")
            if isinstance(image, Hashable) and image in of_image:
                of_image[image].append((number, annotation))
                continue
            item = f"{self._file}: {annotation_name(annotation, number)}"
            reason = f"is of image {image!r}, which the file does not list"
            self.problems.add(Problem("object", "", item, reason))
        return of_image


def _decode(
    files: FileSource, image: CocoImage, *, no_objects: Mapping[int, str], are_single: bool
) -> Result:
    try:
        content, pixels = decode_image(files, image.file, turned=True)
        height, width = pixels.shape[:2]
        for what, there, said in zip(("high", "wide"), (height, width), image.size):
            if said is not None and said != there:
                raise DataError(f"is {there} pixels {what}; the annotation file says {said}")
        if not are_single:
            _check_some_are_single([annotation for _, _, annotation in image.objects])
    except DataError as error:
        return None, [Problem("image", image.name, image.file, str(error))]
    masks, categories, problems = [], [], []
    outside, areas = 0, []
    for item, category, annotation in image.objects:
        try:
            if (is_crowd(annotation) and not are_single) or annotation.get("ignore"):
                raise DataError(
                    "is a crowd (iscrowd), which is not a single object; CVAT writes this of every "
                    "mask"
                )
            if category is None:
                raise _of_no_category(annotation.get("category_id"), no_objects)
            mask, is_cut = mask_with_holes(annotation.get("segmentation"), height, width)
        except DataError as error:
            outside += isinstance(error, OutsideError)
            scope = error.scope if isinstance(error, NotAnObject) else "object"
            problems.append(Problem(scope, image.name, item, str(error)))
            continue
        masks.append(mask)
        categories.append(category)
        if is_cut:
            reason = "has a polygon inside another, which is taken for a hole; COCO fills it"
            problems.append(Problem("note", image.name, item, reason))
        areas.append((as_number(annotation.get("area")), int(coco_mask.area(mask))))
    try:
        check_inside(outside, len(masks))
    except DataError as error:
        return None, [Problem("image", image.name, image.file, str(error))]
    problems += [
        Problem("note", image.name, image.file, reason) for reason in _differing_areas(areas)
    ]
    sample = make_sample(image.name, image.file, (content, pixels), masks, categories)
    return sample, problems


def _check_some_are_single(annotations: Sequence[Mapping[str, Any]]) -> None:
    """Check that not all annotations of an image are crowds: it would become background.

    Raises:
        DataError: all are crowds.
    """
    if are_all_crowds(annotations):
        raise DataError(
            f"has {len(annotations)} annotations, all of them crowds (iscrowd), as CVAT writes "
            "masks: set iscrowd to 0 where they are single objects"
        )


def _of_no_category(number: Any, no_objects: Mapping[int, str]) -> DataError:
    if isinstance(number, Hashable) and number in no_objects:
        return Region(f"is of the class {no_objects[number]!r}, which stands for no object")
    return DataError(f"is of category {number!r}, which the file does not list")


def _differing_areas(areas: Sequence[tuple[float | None, int]]) -> Iterator[str]:
    """Yield a note if areas in the file differ from the areas of the masks, in pixels."""
    known = [(said, there) for said, there in areas if said is not None]
    differ = [pair for pair in known if abs(pair[0] - pair[1]) > _AREA_TOLERANCE * pair[1]]
    if differ:
        said, there = differ[0]
        yield (
            f"{len(differ)} of {len(known)} areas differ by more than {_AREA_TOLERANCE:.0%} from "
            f"the masks, such as {said:g} of a mask of {there} pixels; the masks are taken"
        )
