"""From the numbers that an image has to the 0..255 that a model knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnnpp.data.image_io import Raster
from maskrcnnpp.errors import DataError

_SAMPLE = 2**24  # pixels, of an image that has more


@dataclass(frozen=True)
class Limits:
    """Values of each channel that become 0 and 255, float64 (channels,)."""

    low: np.ndarray
    high: np.ndarray

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """float32, 0..255; values beyond the limits become these. A flat channel becomes 0."""
        span = np.where(self.high > self.low, self.high - self.low, 1)
        # float32 has no place for all values of 32 bits and more
        exact = np.result_type(pixels.dtype, np.float32)
        shifted = (pixels.astype(exact) - self.low.astype(exact)).astype(np.float32)
        return np.clip(shifted / span.astype(np.float32), 0, 1) * 255


def percentile_limits(raster: Raster, percentiles: tuple[float, float]) -> Limits:
    """Percentiles of each channel, as NumPy interpolates them.

    Of all pixels; of other numbers than integers of up to 16 bits, of a grid of 16 million where
    there are more.

    Raises:
        DataError: see :func:`finite`.
    """
    if raster.dtype.kind in "iu" and raster.dtype.itemsize <= 2:
        return _limits_by_counting(raster, percentiles)
    step = max(1, math.ceil((raster.height * raster.width / _SAMPLE) ** 0.5))
    taken = [[] for _ in range(raster.shape[2])]
    for _, _, pixels in raster.blocks():
        grid = finite(pixels, raster.name)[::step, ::step]
        for channel, values in enumerate(taken):
            values.append(grid[..., channel].ravel())
    low, high = np.array([np.percentile(np.concatenate(v), percentiles) for v in taken]).T
    return Limits(low, high)


def _limits_by_counting(raster: Raster, percentiles: tuple[float, float]) -> Limits:
    """Of few values: a fraction of the time of sorting, and memory that does not grow."""
    lowest, highest = np.iinfo(raster.dtype).min, np.iinfo(raster.dtype).max
    counts = np.zeros((raster.shape[2], highest - lowest + 1), dtype=np.int64)
    for _, _, pixels in raster.blocks():
        for channel in range(raster.shape[2]):
            values = pixels[..., channel].ravel().astype(np.int32) - lowest
            counts[channel] += np.bincount(values, minlength=counts.shape[1])
    below = counts.cumsum(axis=1)
    last = raster.height * raster.width - 1
    places = last * np.array(percentiles) / 100
    first = np.floor(places).astype(np.int64)
    # the k-th of sorted values, from 0, is the first with more than k up to it
    low, high = (
        np.array([np.searchsorted(row, k, side="right") for row in below]) + lowest
        for k in (first, np.minimum(first + 1, last))
    )
    return Limits(*(low + (high - low) * (places - first)).T)


def finite(pixels: np.ndarray, name: str) -> np.ndarray:
    """The pixels, if none is NaN or infinite.

    Raises:
        DataError: one is. The message has the ``name``.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{name} has values that are NaN or infinite: replace them first")
    return pixels


def check_values(raster: Raster, percentiles: Sequence[float] | None, remedy: str) -> None:
    """Check that the values of an image can become 0..255.

    Args:
        percentiles: that will become 0 and 255; None or empty takes 8-bit values as they are.
        remedy: what to do for other values.

    Raises:
        DataError: they are no real numbers, or need percentiles.
    """
    name, dtype = raster.name, raster.dtype
    if not np.issubdtype(dtype, np.number):
        raise DataError(f"{name} is {dtype}, which is no number")
    if np.issubdtype(dtype, np.complexfloating):
        raise DataError(f"{name} is of complex numbers: take their magnitude or phase")
    if not percentiles and dtype != np.uint8:
        raise DataError(f"{name} is {dtype}, not 8-bit: {remedy}")


def check_channels(raster: Raster, count: int, remedy: str) -> None:
    """Check that a model of ``count`` channels can take the image; of three it takes grey too.

    Raises:
        DataError: it cannot. The message has both numbers and the ``remedy``.
    """
    there = raster.shape[2]
    if there != count and (there, count) != (1, 3):
        has = f"{there} channel{'s' * (there != 1)}"
        takes = f"{count} channel{'s' * (count != 1)}"
        raise DataError(f"{raster.name} has {has}, and the model takes {takes}: {remedy}")


def as_model_takes(pixels: np.ndarray, count: int, order: str) -> np.ndarray:
    """Pixels (H, W, channels) that passed :func:`check_channels`, as (H, W, count).

    Args:
        order: "BGR" reverses three channels.
    """
    if pixels.shape[2] == 1 and count == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels[..., ::-1] if order == "BGR" and count == 3 else pixels
