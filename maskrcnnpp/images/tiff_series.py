"""Choice of one image of a TIFF, and its axes."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import tifffile

from maskrcnnpp.errors import DataError, printable

logger = logging.getLogger(__name__)

_CHANNEL_AXES = "CS"
_PLAIN = ("generic", "shaped", "uniform")  # kinds of what no program for microscopes wrote
# what has no name is taken for depth, as Fiji does
_STACK_AXES = {"T": "t", "Z": "z", "I": "z", "Q": "z"}


def size_of(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """Height and width."""
    sizes = dict(zip(series.axes, series.shape))
    return sizes["Y"], sizes["X"]


def images_of(path: Path, file: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """The images of a file.

    Raises:
        DataError: there is none.
    """
    images = [series for series in file.series if {"Y", "X"} <= set(series.axes)]
    if not images:
        raise DataError(f"{path} holds no image")
    return images


def as_stack(
    path: Path, file: tifffile.TiffFile, images: list[tifffile.TiffPageSeries]
) -> tifffile.TiffPageSeries | None:
    """Pages that were added one by one, each an image of its own, as a stack; None if there is one.

    Raises:
        DataError: they differ.
    """
    if len(images) == 1 or not {series.kind for series in images} <= set(_PLAIN):
        return None
    kinds = {(size_of(series), str(series.dtype)) for series in images}
    if len(kinds) > 1:
        shown = ", ".join(f"{w}x{h} of {dtype}" for (h, w), dtype in sorted(kinds))
        raise DataError(
            f"{path} holds planes that differ ({shown}), which are no stack: save those of one "
            "size in a file of their own"
        )
    first, pages = images[0].keyframe, [page for series in images for page in series.pages]
    return tifffile.TiffPageSeries(
        pages, (len(pages), *first.shape), first.dtype, f"Z{first.axes}", parent=file
    )


def largest_of(path: Path, images: list[tifffile.TiffPageSeries]) -> tifffile.TiffPageSeries:
    """The image of a file; the first of several that are as large."""
    largest = max(images, key=lambda series: math.prod(size_of(series)))
    if len(images) > 1:
        logger.warning(
            "%s holds %d images; number %d, of %dx%d pixels, is taken: for another one save that "
            "alone",
            *(printable(path), len(images), images.index(largest) + 1, *size_of(largest)),
        )
    return largest


def axes_of(path: Path, series: tifffile.TiffPageSeries) -> tuple[str | None, dict[str, str]]:
    """The axis of channels, if there is one, and those of a stack by their names: t, z.

    Raises:
        DataError: there are others.
    """
    # axes of one entry say nothing
    others = [
        axis for axis, size in zip(series.axes, series.shape) if axis not in "YX" and size > 1
    ]
    channels = [axis for axis in others if axis in _CHANNEL_AXES]
    names = {_STACK_AXES.get(axis, axis): axis for axis in others if axis not in _CHANNEL_AXES}
    stack = dict(sorted(names.items()))
    is_known = set(stack) <= {"t", "z"} and len(stack) + len(channels) == len(others)
    if len(channels) > 1 or not is_known or "Y" not in series.axes:
        sizes = ", ".join(f"{axis} {size}" for axis, size in zip(series.axes, series.shape))
        raise DataError(
            f"{path} has the axes {sizes}; an image has Y, X and channels (C or S), and a stack T "
            "and Z beside: save it with these alone"
        )
    return (channels[0] if channels else None), stack
