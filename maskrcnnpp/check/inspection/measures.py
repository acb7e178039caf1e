"""Measurements of one image and its objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from skimage.measure import regionprops

from maskrcnnpp.convert.splits import classify_stain
from maskrcnnpp.images.display import to_8_bit, without_alpha
from maskrcnnpp.masks.crop import Crop

_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)


class ObjectMeasures(NamedTuple):
    """Measurements of the objects of an image; arrays have one entry for each object."""

    area: np.ndarray  #: pixels
    height: np.ndarray  #: of the box, pixels
    width: np.ndarray
    touching: np.ndarray  #: bool: it or its 8-neighbourhood has a pixel of another object
    overlapping: np.ndarray  #: bool: it shares a pixel with another object
    cut: np.ndarray  #: bool: it reaches the border of the image
    pieces: np.ndarray  #: parts that touch nowhere, corners included
    covered: int  #: pixels of the image that are of any object


def measure_objects(crops: Sequence[Crop], height: int, width: int) -> ObjectMeasures:
    """
    Args:
        crops: the objects.
        height, width: of the image, pixels.
    """
    # a margin of a pixel, so that no neighbourhood has to be cut
    count = np.zeros((height + 2, width + 2), dtype=np.uint32)
    for crop in crops:
        crop.of(count[1:, 1:])[...] += crop.pixels
    rows_of = [_measured(crop, count, height, width) for crop in crops]
    table = np.array(rows_of, dtype=np.int64).reshape(-1, 7).T
    flags = (column.astype(bool) for column in table[3:6])
    return ObjectMeasures(*table[:3], *flags, table[6], covered=int(np.count_nonzero(count)))


def _measured(crop: Crop, count: np.ndarray, height: int, width: int) -> tuple[int, ...]:
    rows, columns = crop.pixels.shape
    own = np.pad(crop.pixels, 1).astype(np.uint8)
    others = count[crop.top : crop.bottom + 2, crop.left : crop.right + 2] > own
    return (
        int(np.count_nonzero(own)),
        rows,
        columns,
        bool((others & (cv2.dilate(own, _NEIGHBOURS) > 0)).any()),
        bool((others & (own > 0)).any()),
        0 in (crop.top, crop.left) or crop.bottom == height or crop.right == width,
        cv2.connectedComponents(own, connectivity=8)[0] - 1,
    )


def shape_of(crop: Crop) -> tuple[float, float]:
    """Eccentricity (0: a disk, 1: a line) and solidity (area / area of the convex hull)."""
    region = regionprops(crop.pixels.astype(np.uint8))[0]
    return float(region.eccentricity), float(region.solidity)


class PixelMeasures(NamedTuple):
    """Measurements of the pixels of an image."""

    dtype: str
    layout: str  #: "grey", "RGB", with alpha, or "n channels"
    has_colour: bool
    stain: str  #: of :func:`classify_stain`; empty where the image is not of 8 bits
    features: np.ndarray  #: mean, standard deviation, percentiles 1, 50, 99; float64 (5,)
    low: np.ndarray  #: smallest value of each channel, alpha not counted; float64 (channels,)
    high: np.ndarray
    sample: np.ndarray  #: some of the pixels, of the image's dtype (n, channels)


def measure_pixels(
    pixels: np.ndarray, is_colour: bool, rng: np.random.Generator, count: int
) -> PixelMeasures:
    """
    Args:
        pixels: (height, width, channels).
        is_colour: whether the channels are grey, or red, green, blue, and perhaps alpha.
        rng: draws the sample.
        count: values to draw of all channels together, at least one pixel.
    """
    layout = layout_of(pixels.shape[2], is_colour)
    pixels = without_alpha(pixels, is_colour)
    flat = pixels.reshape(-1, pixels.shape[2])
    size = max(1, min(count // flat.shape[1], len(flat)))
    sample = flat[rng.integers(len(flat), size=size)]
    is_8_bit = pixels.dtype == np.uint8
    stain = classify_stain(to_8_bit(pixels, is_colour)) if is_colour else ""
    return PixelMeasures(
        dtype=str(pixels.dtype),
        layout=layout,
        has_colour=stain == "histology",
        stain=stain if is_8_bit else "",
        features=_features(sample),
        low=flat.min(axis=0).astype(np.float64),
        high=flat.max(axis=0).astype(np.float64),
        sample=sample,
    )


def _features(sample: np.ndarray) -> np.ndarray:
    values = sample.astype(np.float64).mean(axis=1)
    return np.array([values.mean(), values.std(), *np.percentile(values, (1, 50, 99))])


def layout_of(channels: int, is_colour: bool) -> str:
    """Layout of the channels, in words."""
    names = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}
    return names[channels] if is_colour and channels in names else f"{channels} channels"
