"""Reader of labelme's files: one JSON an image.

    a.json    names its image, relative to itself, or has it inside; else it is a.png beside it

Shapes are a polygon, rectangle, circle or mask; points and lines are no objects, nor are the labels
``_background_`` and ``__ignore__``. Those of one label and one group_id are one object.
"""

from __future__ import annotations

import functools
import os
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from maskrcnnpp.convert.pairing import (
    Pair,
    check_any,
    image_name,
    images_beside,
    is_image,
    is_output,
    stem,
)
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers import decode
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.labelme_shapes import (
    from_base64,
    groups,
    is_area,
    shape_mask,
    shapes_of,
)
from maskrcnnpp.convert.readers.objects import (
    NotAnObject,
    category_id,
    collect,
    make_categories,
    read_json,
)
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.files import escapes
from maskrcnnpp.masks.polygons import union
from maskrcnnpp.masks.rle import Rle

# first bytes of the files that imageData may be
_STARTS = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}


class _Seen(NamedTuple):
    """Image and labels of a file, as found when the source is looked through."""

    image: str  #: its file in the source; "" where it is inside
    labels: set[str]


class LabelmeReader(Reader):
    """Images with labelme's JSON."""

    def __init__(
        self,
        source: str | os.PathLike,
        problems: ProblemLog,
        *,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            source, problems: see :class:`Reader`.
            class_names: the labels wanted, in the order of their category ids. None takes all that
                there are, by name.

        Raises:
            DataError: see :class:`Reader`.
        """
        super().__init__(source, problems)
        self._labels: set[str] = set()
        self._annotation_of: dict[str, str] = {}
        with FileSource(source) as files:
            times = Counter(list_files(files, problems))
            for name in sorted(filter(_is_json, times)):
                self._look(files, name, times)
        check_any(self.source, problems, self._entries, "a JSON file of labelme")
        self._tell_images_without(times)
        self.categories = make_categories(class_names, self._labels)

    def _look(self, files: FileSource, name: str, times: Mapping[str, int]) -> None:
        """Note what a JSON file is of."""
        called, item = stem(name), name
        try:
            called = image_name(name)
            if times[name] > 1:
                raise DataError("the archive holds this file twice; pack it again")
            try:
                seen = _see(read_json(files, name), name, times)
            except NotAnObject as error:
                self.problems.add(Problem("file", "", name, str(error)))
                return
            if times[seen.image] > 1:
                item = seen.image
                raise DataError("the archive holds this file twice; pack it again")
            if other := seen.image and self._annotation_of.get(seen.image):
                raise DataError(f"is of the image {seen.image}, as {other} is; keep one of them")
            if called in self._entries:
                raise DataError(f"two images would be called {called}; rename this file")
        except DataError as error:
            problem = Problem("image", called, item, str(error))
            if self._entries.setdefault(called, problem) is not problem:
                self.problems.add(problem)
            return
        self._annotation_of[seen.image] = name
        self._labels |= seen.labels
        self._entries[called] = Pair(called, seen.image, name)

    def _tell_images_without(self, names: Mapping[str, int]) -> None:
        stems = {stem(name) for name in names if _is_json(name)}
        for name in sorted(filter(is_image, names)):
            if name in self._annotation_of or stem(name) in stems or is_output(name, names):
                continue
            reason = "no JSON file of labelme names this image; add one, or remove the image"
            try:
                called = image_name(name)
            except DataError:
                called = name
            problem = Problem("image", called, name, reason)
            if self._entries.setdefault(called, problem) is not problem:
                self.problems.add(problem)

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        is_geojson = any(PurePosixPath(name).suffix.lower() == ".geojson" for name in names)
        return not is_geojson and any(
            images_beside(names, lambda name: [stem(name)] if _is_json(name) else []).values()
        )

    @property
    def decoder(self) -> Decoder:
        ids = {category["name"]: category["id"] for category in self.categories}
        return functools.partial(_decode, ids=ids)


def _is_json(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() == ".json"


def _see(content: Any, name: str, names: Mapping[str, int]) -> _Seen:
    """Image and labels of the file ``name``, from its content.

    Raises:
        NotAnObject: it is not a file of labelme.
        DataError: it is damaged, or there is no image.
    """
    shapes = shapes_of(content)
    labels = {str(shape["label"]) for shape in shapes if shape.get("label") and is_area(shape)}
    said = content.get("imagePath")
    if isinstance(said, str) and said:
        said = said.replace("\\", "/")  # written on Windows
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), said))
        # a path from the root of some machine says nothing here
        if not (said.startswith("/") or escapes(path)) and path in names and is_image(path):
            return _Seen(path, labels)
    beside = images_beside(names, lambda file: [stem(name)] if file == name else [])[name]
    if len(beside) > 1:
        raise DataError(f"fits {' and '.join(beside)}; keep one of them")
    if beside:
        return _Seen(beside[0], labels)
    if isinstance(content.get("imageData"), str):
        return _Seen("", labels)
    out = isinstance(said, str) and escapes(posixpath.normpath(said))
    where = f"{said!r} " + ("leads out of the source" if out else "is not an image in the source")
    raise DataError(f"has no image: imagePath {where}; put the image beside this file")


def _image(files: FileSource, pair: Pair, content: Mapping[str, Any]) -> tuple[bytes, np.ndarray]:
    """Bytes and pixels of an image, from its file or from imageData."""
    if pair.image:
        # labelme turns images by EXIF before it shows them
        return decode.decode_image(files, pair.image, turned=True)
    try:
        data = from_base64(content.get("imageData"))
        return data, decode.decode_pixels(data, f"image{_ending(data)}")
    except DataError as error:
        raise DataError(f"has a damaged imageData: {error}") from error


def _ending(data: bytes) -> str:
    """Suffix of an image file with this content.

    Raises:
        DataError: it is not an image.
    """
    for start, suffix in _STARTS.items():
        if data.startswith(start):
            return suffix
    raise DataError("no PNG, JPEG, BMP or TIFF")


def _decode(files: FileSource, pair: Pair, *, ids: Mapping[str, int]) -> Result:
    def make(group: Any) -> tuple[Rle | None, int]:
        if isinstance(group, NotAnObject):
            raise group
        label = group[0].get("label")
        if not label:
            raise DataError("has no label")
        category = category_id(ids, str(label))
        return union(shape_mask(shape, *size) for shape in group), category

    file = pair.annotation
    try:
        content = read_json(files, pair.annotation)
        shapes = shapes_of(content)
        file = pair.image or pair.annotation
        image = _image(files, pair, content)
        size, file = image[1].shape[:2], pair.annotation
        said = [content.get("imageHeight") or size[0], content.get("imageWidth") or size[1]]
        decode.check_size(said, image[1], pair.image or "inside")
        masks, categories, problems = collect(pair, groups(shapes), make)
    except DataError as error:
        return None, [Problem("image", pair.name, file, str(error))]
    named = pair if pair.image else pair._replace(image=f"image{_ending(image[0])}")
    return decode.make_sample(named.name, named.image, image, masks, categories), problems
