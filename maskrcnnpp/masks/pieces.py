"""In how many pieces objects are, and whether a label image may be something else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.measure import label

from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.rle import Rle

#: Pieces of an object, up to which it may well be one that others hide in part.
FEW = 3
_SPECK = 0.1  # of the area of the largest piece
_AROUND = np.ones((3, 3))
_FULL = (255, 65535)  # what foreground masks have in the place of 1


class Doubt(NamedTuple):
    """Doubt that the numbers of a label image stand for single objects."""

    reason: str
    is_sure: bool
    """False where other label images of the same source may tell."""


def count_pieces(rle: Rle) -> int:
    """Parts of a mask, as :func:`checked_rle` gives it, that touch nowhere, corners included."""
    # not by OpenCV, whose threads a forked worker waits for without end
    return ndimage.label(Crop.of_rle(rle).pixels, _AROUND)[1]


def count_parts(rle: Rle) -> int:
    """Pieces of a mask of which none is a speck beside the largest."""
    crop = Crop.of_rle(rle).pixels
    areas = np.bincount(ndimage.label(crop, _AROUND)[0][crop])
    return int(np.count_nonzero(areas >= _SPECK * areas.max()))


def doubt_of(labels: np.ndarray) -> Doubt | None:
    """Why a label image may be a foreground mask, or one of classes.

    Args:
        labels: integers (height, width), 0 is background.

    Raises:
        DataError: see :func:`check_background`; or 255 seems to stand for outlines. The message
            holds the reason only.
    """
    check_background(labels)
    parts, count = label(labels, background=0, connectivity=2, return_num=True)
    value_of = np.zeros(count + 1, dtype=labels.dtype)
    value_of[parts.ravel()] = labels.ravel()
    values, pieces = np.unique(value_of[1:], return_counts=True)
    if len(values) == 0:
        return None
    if len(values) > 1 and values[-1] == 255 and values[-2] < 254 and pieces[-1] > 1:
        raise DataError(
            f"has 255 in {pieces[-1]} pieces beside the labels up to {values[-2]}: does it stand "
            "for what does not count, such as outlines? set these pixels to 0"
        )
    if 2 * np.count_nonzero(pieces > 1) <= len(values):
        return None
    is_sure = count > FEW * len(values)
    if len(values) == 1:
        is_sure |= int(values[0]) in _FULL
        what = f"has one value, {values[0]}, in {count} pieces: is it a foreground mask? use "
        return Doubt(f"{what}--format binary; a label image has a number for each object", is_sure)
    what = f"has {len(values)} values in {count} pieces: are they classes? "
    return Doubt(f"{what}a label image has a number for each object", is_sure)


def check_label_image(labels: np.ndarray) -> None:
    """Check that a label image is not clearly a foreground mask or an image of classes.

    Raises:
        DataError: it is. The message holds the reason only.
    """
    doubt = doubt_of(labels)
    if doubt is not None and doubt.is_sure:
        raise DataError(doubt.reason)


def check_background(labels: np.ndarray) -> None:
    """Check that no number of a label image, or value of a mask, is the background.

    Raises:
        DataError: one reaches all four sides of the image around something else. The message holds
            the reason only.
    """
    height, width = labels.shape
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    common = set.intersection(*(set(np.unique(side).tolist()) for side in sides)) - {0}
    for value in sorted(common):
        own = labels == value
        parts, _ = ndimage.label(own, _AROUND)
        first, last, left, right = (
            set(np.unique(side).tolist())
            for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1])
        )
        for part in (first & last & left & right) - {0}:
            around = parts == part
            if (ndimage.binary_fill_holes(around) & ~around).any():
                share = np.count_nonzero(around) / (height * width)
                raise DataError(
                    f"has {value} on {share:.0%} of the image, at all four sides and around the "
                    "rest: is it the background? background has to be 0"
                )
