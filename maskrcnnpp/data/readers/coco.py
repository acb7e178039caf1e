"""Reader of COCO data sets: a JSON file with polygons or RLE, and its images.

    annotations.json        images, categories, annotations
    images/a.png            anywhere in the source, called as file_name says

The JSON file lists the images: others in the source are not of the data set.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from maskrcnnpp.data.problems import Problem, ProblemLog
from maskrcnnpp.data.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.data.readers.coco_json import annotation_name, read_coco, renumbered
from maskrcnnpp.data.readers.decode import IMAGE_SUFFIXES, decode_image, make_sample
from maskrcnnpp.data.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.data.readers.label_names import LABEL_ENDINGS, find_pairs
from maskrcnnpp.data.readers.lookup import Lookup, choose_file
from maskrcnnpp.data.readers.names import image_name
from maskrcnnpp.data.readers.source import FileSource, is_hidden
from maskrcnnpp.data.segmentation import checked_rle
from maskrcnnpp.errors import DataError

# of other programs, beside images
_OTHER_JSON = {"dataset", "dataset_description", "info", "meta", "metadata", "package", "readme"}
_OTHER_SUFFIXES = {".geojson", ".xml", ".mat", ".roi", ".zip", ".npy", ".npz"}


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
        self.categories, self._numbers = renumbered(
            content.categories, f"{self.source}: {self._file}"
        )
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
            any(path.suffix.lower() in _OTHER_SUFFIXES for path in shown)
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
        return _decode

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


def _decode(files: FileSource, image: CocoImage) -> Result:
    try:
        content, pixels = decode_image(files, image.file)
        height, width = pixels.shape[:2]
        for what, there, said in zip(("high", "wide"), (height, width), image.size):
            if said is not None and said != there:
                raise DataError(f"is {there} pixels {what}; the annotation file says {said}")
    except DataError as error:
        return None, [Problem("image", image.name, image.file, str(error))]
    masks, categories, problems = [], [], []
    for item, category, annotation in image.objects:
        try:
            if annotation.get("iscrowd"):
                raise DataError("is a crowd (iscrowd), which is no single object")
            if category is None:
                unknown = annotation.get("category_id")
                raise DataError(f"is of category {unknown!r}, which the file does not list")
            masks.append(checked_rle(annotation.get("segmentation"), height, width))
            categories.append(category)
        except DataError as error:
            problems.append(Problem("object", image.name, item, str(error)))
    sample = make_sample(image.name, image.file, (content, pixels), masks, categories)
    return sample, problems
