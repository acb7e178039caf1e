"""Reader of foreground masks: 0 is background, one other value is object.

Masks are paired with images as label images are (see :mod:`maskrcnnpp.data.readers.labels`): 8-bit
0/255 or 0/1, grey, of a palette or RGB as long as it is grey. What hangs together is an object;
objects that touch can be cut apart by a watershed.
"""

from __future__ import annotations

import functools
import os
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import label
from skimage.segmentation import watershed

from maskrcnnpp.data.label_masks import label_masks
from maskrcnnpp.data.problems import Problem, ProblemLog
from maskrcnnpp.data.readers.base import Decoder, Result
from maskrcnnpp.data.readers.decode import (
    as_stored,
    check_size,
    decode_image,
    decode_labels,
    make_sample,
)
from maskrcnnpp.data.readers.labels import LabelsReader
from maskrcnnpp.data.readers.pairs import Pair
from maskrcnnpp.data.readers.source import FileSource
from maskrcnnpp.errors import DataError


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
    file = pair.image
    try:
        content, pixels = decode_image(files, pair.image)
        file = pair.annotation
        mask = _foreground(files, pair.annotation)
        check_size(mask.shape, pixels)
    except DataError as error:
        return None, [Problem("image", pair.name, file, str(error))]
    objects, small = _objects(mask, split)
    _, masks = label_masks(objects)
    sample = make_sample(pair.name, pair.image, (content, pixels), masks)
    reason = f"{small} object{'s' if small > 1 else ''} of less than {split.min_area} pixels"
    return sample, [Problem("object", pair.name, file, reason)] if small else []


def _foreground(files: FileSource, name: str) -> np.ndarray:
    """Bool (height, width).

    Raises:
        DataError: the file cannot be read, or is no mask of two values, of which one is 0.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".npy":
        mask = decode_labels(files, name)
    else:
        content, mask = decode_image(files, name)
        mask = as_stored(content, mask)
        if mask.shape[2] == 3 and (mask == mask[..., :1]).all():
            mask = mask[..., :1]
        if mask.shape[2] != 1:
            what = "colours" if mask.shape[2] == 3 else f"{mask.shape[2]} channels"
            raise DataError(f"has {what}; a mask is black and white")
        mask = mask[..., 0]
    values = np.unique(mask)
    if len(values) > 2:
        reason = f"has {len(values)} values, where a mask has two"
        if suffix in (".jpg", ".jpeg"):
            raise DataError(f"{reason}: JPEG changes them; save it as PNG from what it was made of")
        raise DataError(f"{reason}: is it a label image? use --format labels")
    if len(values) == 2 and values[0] != 0:
        raise DataError(f"has the values {values[0]} and {values[1]}; background has to be 0")
    return mask != 0


def _objects(mask: np.ndarray, split: _Split) -> tuple[np.ndarray, int]:
    """A label image of the objects, and how many were too small for it."""
    objects = label(mask, connectivity=split.connectivity)
    if split.min_distance is not None and mask.any() and not mask.all():
        objects = _cut_apart(mask, objects, split.connectivity, split.min_distance)
    areas = np.bincount(objects.ravel())
    small = areas < split.min_area
    small[0] = False
    small_there = small & (areas > 0)
    objects[small[objects]] = 0
    return objects, int(small_there.sum())


def _cut_apart(
    mask: np.ndarray, objects: np.ndarray, connectivity: int, min_distance: int
) -> np.ndarray:
    """Objects divided where they have several peaks of the distance to the background."""
    distance = ndimage.distance_transform_edt(mask)
    peaks = peak_local_max(
        distance, min_distance=min_distance, labels=objects, exclude_border=False
    )
    markers = np.zeros(mask.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    parts = watershed(-distance, markers, connectivity=connectivity, mask=mask)
    # an object without a peak, which a flat one may be, stays whole
    whole = mask & (parts == 0)
    parts[whole] = objects[whole] + len(peaks)
    return parts
