"""Reader of the layout of HoVer-Net: CoNSeP, Kumar, CPM and Lizard as MATLAB files.

    Images/a.png (or .tif) and Labels/a.mat

    inst_map     (height, width)    0 is background, every other number is an object
    inst_type    (N, 1)             the type of the k-th object by rising number, from 1
    type_map     (height, width)    the type of every pixel

Where ``inst_type`` is missing, or has not one type an object, the type of an object is that of most
of its pixels in ``type_map``. Lizard has ``class`` for ``inst_type``, in the order of the numbers
in ``id``. Types keep their numbers: they are not merged. Without any types, all are nuclei.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from maskrcnnpp.coco.categories import NUCLEUS_CATEGORIES, NUCLEUS_ID
from maskrcnnpp.convert.pairing import Pair, find_by_stem
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode import as_integers, as_labels, check_size, decode_pair
from maskrcnnpp.convert.readers.mat import read_mat
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.labels import label_masks
from maskrcnnpp.masks.pieces import check_label_image
from maskrcnnpp.masks.rle import Rle

_TYPES = ("inst_type", "class", "type_map")
_MOST_TYPES = 255


class HovernetReader(Reader):
    """Images with instance maps in MATLAB files, of a folder or zip archive.

    Without ``class_names`` every label file is opened once more, to see what types there are.
    """

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
            class_names: of the types from 1. None calls them "type 1" and so on, up to the
                largest that there is.

        Raises:
            DataError: see :class:`Reader`; or names are missing or the same.
        """
        super().__init__(source, problems)
        if class_names is not None and not _are_names(class_names):
            raise DataError(f"class names {list(class_names)}: one or more, all different")
        with FileSource(source) as files:
            found, bad = find_by_stem(list_files(files, problems), ".mat")
        self._take_pairs(found, bad)
        self._require_entries(
            "holds no image with a .mat of the same name; put them into Images/ and Labels/"
        )
        if class_names is None:
            count = _largest_type(source, self._entries.values())
            class_names = [f"type {number}" for number in range(1, count + 1)]
        #: Number of types; 0 where all objects are nuclei.
        self._types = len(class_names)
        named = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
        self.categories = named or NUCLEUS_CATEGORIES

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        return bool(find_by_stem(names, ".mat")[0])

    @property
    def decoder(self) -> Decoder:
        return functools.partial(_decode, types=self._types)


def _are_names(names: Sequence[str]) -> bool:
    return bool(names) and all(names) and len(set(names)) == len(names)


def _largest_type(source: str | os.PathLike, pairs: Iterable[Pair]) -> int:
    """0 where there are no types. Of files that cannot be read the decoder will tell."""
    largest = 0
    with FileSource(source) as files:
        for pair in pairs:
            content = b""
            try:
                content = files.read(pair.annotation)
                found = read_mat(content, _TYPES)
                numbers = [as_integers(numbers) for numbers in found.values() if np.size(numbers)]
            except DataError:
                # types that cannot be read are no reason to call all objects nuclei
                largest = max(largest, int(_can_be_read(content)))
                continue
            there = [int(number.max()) for number in numbers]
            largest = max(largest, *(number for number in there if number <= _MOST_TYPES), 0)
    return largest


def _can_be_read(content: bytes) -> bool:
    """Whether the instance map of a file is sound."""
    try:
        return "inst_map" in read_mat(content, ("inst_map",))
    except DataError:
        return False


def _decode(files: FileSource, pair: Pair, *, types: int) -> Result:
    def annotated(pixels: np.ndarray) -> tuple[list[Rle], list[int], list[Problem]]:
        file = pair.annotation
        mat = read_mat(files.read(file), ("inst_map", "id", *(_TYPES if types else ())))
        if "inst_map" not in mat:
            raise DataError("has no inst_map; is it a label file of HoVer-Net?")
        labels = as_labels(mat["inst_map"])
        check_size(labels.shape, pixels, pair.image)
        check_label_image(labels)
        numbers, masks = label_masks(labels)
        category_ids = [NUCLEUS_ID] * len(numbers)
        if types:
            category_ids = _types_of(numbers, labels, mat)
            _check_types(category_ids, types)
        problems = [
            Problem("object", pair.name, file, f"object {number}: has no type (0)")
            for number, category_id in zip(numbers, category_ids)
            if category_id <= 0
        ]
        kept = [k for k, category_id in enumerate(category_ids) if category_id > 0]
        return [masks[k] for k in kept], [category_ids[k] for k in kept], problems

    return decode_pair(files, pair, annotated)


def _types_of(numbers: Sequence[int], labels: np.ndarray, mat: Mapping[str, Any]) -> list[int]:
    """The type of every object; 0 where it has none.

    Args:
        numbers: of the objects in ``labels``, rising.
        labels: integers, (height, width).
        mat: variables of the file.

    Raises:
        DataError: the file does not say.
    """
    listed = mat.get("inst_type", mat.get("class"))
    if listed is not None:
        listed = as_integers(listed).ravel().tolist()
        if "inst_type" not in mat and "id" in mat:
            by_number = dict(zip(as_integers(mat["id"]).ravel().tolist(), listed))
            listed = [by_number[number] for number in numbers if number in by_number]
        if len(listed) == len(numbers):
            return listed
    if "type_map" in mat:
        return _majority(numbers, labels, as_labels(mat["type_map"]))
    if listed is not None:
        count = f"has {len(listed)} types for {len(numbers)} objects"
        raise DataError(f"{count}, and no type_map that tells which is which")
    if numbers:
        raise DataError("has neither inst_type nor type_map, as others have; add it")
    return []


def _majority(numbers: Sequence[int], labels: np.ndarray, type_map: np.ndarray) -> list[int]:
    """The type of most pixels that have one, of every object; of equals the lower number."""
    if type_map.shape != labels.shape:
        (rows, columns), (height, width) = type_map.shape, labels.shape
        raise DataError(f"has a type_map of {columns}x{rows} for an inst_map of {width}x{height}")
    if type_map.size and type_map.max() > _MOST_TYPES:
        raise DataError(f"has the type {type_map.max()}; {_MOST_TYPES} is the largest")
    if not numbers:
        return []
    inside = labels > 0
    places = np.searchsorted(numbers, labels[inside]) * (_MOST_TYPES + 1)
    size = len(numbers) * (_MOST_TYPES + 1)
    counts = np.bincount(places + type_map[inside], minlength=size).reshape(len(numbers), -1)
    counts[:, 0] = 0
    return counts.argmax(axis=1).tolist()


def _check_types(there: Sequence[int], count: int) -> None:
    largest = max(there, default=0)
    if largest > _MOST_TYPES:
        raise DataError(f"has the type {largest}; {_MOST_TYPES} is the largest")
    if largest > count:
        raise DataError(f"has the type {largest}, but {count} class names were given; name all")
