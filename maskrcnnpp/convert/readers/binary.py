"""Reader of foreground masks: 0 is background, one other value is object.

Masks are paired with images as label images are (see
:mod:`maskrcnnpp.convert.readers.labels`): 0 and one other value, of any depth, of a palette or a
colour. A JPEG file is cut at 128. What hangs together is an object; objects that touch can be cut
apart by a watershed.
"""

from __future__ import annotations

import functools
import os
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from skimage.measure import label

from maskrcnnpp.convert.pairing import JPEG_SUFFIXES, Pair
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Result
from maskrcnnpp.convert.readers.decode import check_size, decode_image, decode_pair
from maskrcnnpp.convert.readers.decode_labels import decode_labels
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.labels import label_masks
from maskrcnnpp.masks.pieces import check_background
from maskrcnnpp.masks.rle import Rle
from maskrcnnpp.masks.split import split_at_peaks

_HALF = 128
_NEAR = 64  # to 0 or 255: how far JPEG moves most values
_BLURRED = 0.5  # of the pixels of objects, that many may be in between: at their outlines


class _Split(NamedTuple):
    """How a mask is taken apart; see :class:`BinaryReader`."""

    connectivity: int
    min_distance: int | None
    """None for no watershed."""
    min_area: int


class BinaryReader(LabelsReader):
    """Images with foreground masks, of a folder or zip archive."""

    def __init__(
        self,
        source: str | os.PathLike,
        problems: ProblemLog,
        *,
        label_ending: str | None = None,
        pairs: str | os.PathLike | None = None,
        connectivity: int = 2,
        watershed: bool = False,
        min_distance: int = 5,
        min_area: int = 1,
    ) -> None:
        """
        Args:
            source, problems, label_ending, pairs: see :class:`LabelsReader`.
            connectivity: as in scikit-image: 2 takes pixels that touch at a corner as one object,
                1 only those that share a side.
            watershed: cut objects apart that touch, where the distance to the background has
                several peaks.
            min_distance: between such peaks, pixels.
            min_area: pixels; smaller objects are left out.

        Raises:
            DataError: see :class:`LabelsReader`; or an option is out of range.
        """
        if connectivity not in (1, 2):
            raise DataError(f"connectivity {connectivity}: is 1 (sides) or 2 (sides and corners)")
        for option, value in (("min_distance", min_distance), ("min_area", min_area)):
            if value < 1:
                raise DataError(f"{option} {value}: is 1 or more pixels")
        super().__init__(source, problems, label_ending=label_ending, pairs=pairs)
        self._split = _Split(connectivity, min_distance if watershed else None, min_area)

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        """Never: by their names, masks are label images."""
        return False

    @property
    def decoder(self) -> Decoder:
        return functools.partial(_decode, split=self._split)


def _decode(files: FileSource, pair: Pair, *, split: _Split) -> Result:
    def annotated(pixels: np.ndarray) -> tuple[list[Rle], None, list[Problem]]:
        file, problems = pair.annotation, []
        if PurePosixPath(file).suffix.lower() in JPEG_SUFFIXES:
            mask = _of_jpeg(files, file)
            reason = f"is a JPEG file, which changes values: object is {_HALF} and above"
            problems.append(Problem("note", pair.name, file, reason))
        else:
            mask = _foreground(files, file)
        check_size(mask.shape, pixels, pair.image)
        check_background(mask)
        objects, small = _objects(mask != 0, split)
        if small:
            reason = f"{small} object{'s' * (small > 1)} of less than {split.min_area} pixels"
            problems.append(Problem("unwanted", pair.name, file, reason))
        return label_masks(objects)[1], None, problems

    return decode_pair(files, pair, annotated)


def _foreground(files: FileSource, name: str) -> np.ndarray:
    """(height, width), 0 and another number.

    Raises:
        DataError: the file cannot be read, or is not a mask of two values, of which one is 0.
    """
    mask = decode_labels(files, name)
    values = np.unique(mask)
    if len(values) > 2:
        raise DataError(
            f"has {len(values)} values, where a mask has two: is it a label image? use --format "
            "labels"
        )
    if len(values) == 2 and values[0] != 0:
        raise DataError(f"has the values {values[0]} and {values[1]}; background has to be 0")
    return mask


def _of_jpeg(files: FileSource, name: str) -> np.ndarray:
    """(height, width), 0 and 255, of values that JPEG moved away from them."""
    mask = decode_image(files, name)[1].max(axis=2)
    between = np.count_nonzero((mask >= _NEAR) & (mask <= 255 - _NEAR))
    if mask.dtype != np.uint8 or between > _BLURRED * np.count_nonzero(mask >= _HALF):
        raise DataError(
            f"has {len(np.unique(mask))} values that are not close to 0 and 255: JPEG changes "
            "them; save it as PNG from what it was made of"
        )
    return np.where(mask >= _HALF, 255, 0)


def _objects(mask: np.ndarray, split: _Split) -> tuple[np.ndarray, int]:
    """A label image of the objects, and how many were too small for it."""
    objects = label(mask, connectivity=split.connectivity)
    if split.min_distance is not None and mask.any() and not mask.all():
        objects = split_at_peaks(objects, split.min_distance, split.connectivity)
    areas = np.bincount(objects.ravel())
    small = areas < split.min_area
    small[0] = False
    small_there = small & (areas > 0)
    objects[small[objects]] = 0
    return objects, int(small_there.sum())
