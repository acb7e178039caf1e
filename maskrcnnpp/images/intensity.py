"""Conversion of an image's values to the 0..255 that a model takes.

:class:`ModelInput` is the one way there: of training and evaluation, and of prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images import Raster

if TYPE_CHECKING:
    from detectron2.config import CfgNode

_SAMPLE = 2**24  # pixels, of an image that has more
_COUNTED = 2  # bytes of integers of which each value is counted


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
    """Percentiles of each channel: of all pixels, or of a grid of 16 million where there are more.

    Raises:
        DataError: a value is NaN or infinite.
    """
    step = max(1, math.ceil((raster.height * raster.width / _SAMPLE) ** 0.5))
    is_counted = raster.dtype.kind in "iu" and raster.dtype.itemsize <= _COUNTED
    taken = [_Histogram(raster.dtype) if is_counted else _Values() for _ in range(raster.shape[2])]
    for _, _, pixels in raster.blocks():
        grid = _finite(pixels, raster.name)[::step, ::step]
        for channel, values in enumerate(taken):
            values.add(grid[..., channel].ravel())
    low, high = np.array([values.percentiles(percentiles) for values in taken]).T
    return Limits(low, high)


class _Values:
    """All values, for their percentiles."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        self._parts.append(values)

    def percentiles(self, percentiles: Sequence[float]) -> np.ndarray:
        return np.percentile(np.concatenate(self._parts), percentiles)


class _Histogram:
    """Histogram of a small integer type: the same percentiles as NumPy's, much faster."""

    def __init__(self, dtype: np.dtype) -> None:
        about = np.iinfo(dtype)
        self._first = int(about.min)
        self._counts = np.zeros(int(about.max) - self._first + 1, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        if self._first:
            values = values.astype(np.int64) - self._first
        self._counts += np.bincount(values, minlength=len(self._counts))

    def percentiles(self, percentiles: Sequence[float]) -> np.ndarray:
        """Percentiles as NumPy computes them by default: interpolated between ranks."""
        up_to = np.cumsum(self._counts)
        last = up_to[-1] - 1
        places = np.true_divide(percentiles, 100) * last
        below = np.floor(places)
        part = places - below
        low, high = (
            np.searchsorted(up_to, np.minimum(rank, last), side="right").astype(float) + self._first
            for rank in (below, below + 1)
        )
        return np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part))


def _finite(pixels: np.ndarray, name: str) -> np.ndarray:
    """The pixels, if none is NaN or infinite."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{name} has values that are NaN or infinite: replace them first")
    return pixels


class Remedies(NamedTuple):
    """Advice for messages, in the words of the keys or options that are at hand."""

    values: str  #: where values are not of 8 bits
    channels: str  #: where there are other channels than the model takes


def order_of_three(cfg: CfgNode) -> str:
    """How the model takes three channels: "RGB" as they are read, "BGR" the other way round.

    INPUT.CHANNELS are read in the order of the model. Without these it is INPUT.FORMAT, which can
    also be another of Detectron2's.
    """
    return "RGB" if cfg.INPUT.CHANNELS else cfg.INPUT.FORMAT


@dataclass(frozen=True)
class ModelInput:
    """Properties of the images that a model takes.

    Attributes:
        channels: how many (entries of MODEL.PIXEL_MEAN).
        order: of three channels, "RGB" or "BGR"; "BGR" reverses what is read.
        percentiles: of each image and channel, that become 0 and 255; () takes 8-bit values as
            they are.
    """

    channels: int = 3
    order: str = "RGB"
    percentiles: tuple[float, float] | tuple[()] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: the order is neither.
        """
        if self.order not in ("RGB", "BGR"):
            raise ConfigError(f"INPUT.FORMAT is {self.order!r}; it can be RGB or BGR")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ModelInput:
        """Properties for the model of a config; see :class:`ModelInput` for the errors."""
        order = order_of_three(cfg) if len(cfg.MODEL.PIXEL_MEAN) == 3 else "RGB"
        return cls(len(cfg.MODEL.PIXEL_MEAN), order, tuple(cfg.INPUT.PERCENTILES))

    def limits(self, raster: Raster, remedies: Remedies) -> Limits | None:
        """Look at an image as a whole, before :meth:`pixels`.

        Args:
            raster: of which the channels are chosen.
            remedies: for the messages.

        Returns:
            what its values are stretched between; None where they stay as they are.

        Raises:
            DataError: the model cannot take the image. The message names it and says what to do.
        """
        _check_values(raster, self.percentiles, remedies.values)
        self._check_channels(raster, remedies.channels)
        return percentile_limits(raster, self.percentiles) if self.percentiles else None

    def pixels(
        self, raster: Raster, limits: Limits | None, region: tuple[int, int, int, int]
    ) -> np.ndarray:
        """Part of an image as the model takes it.

        Args:
            raster: the image.
            limits: of :meth:`limits`.
            region: top, left, bottom and right of the part.

        Returns:
            (bottom - top, right - left, channels), float32 of 0..255, or uint8 without limits.

        Raises:
            DataError: the file is damaged there, or a value is NaN or infinite.
        """
        pixels = raster.region(*region)
        if limits is not None:
            pixels = limits.apply(_finite(pixels, raster.name))
        if pixels.shape[2] == 1 and self.channels == 3:
            pixels = np.repeat(pixels, 3, axis=2)
        if self.order == "BGR" and self.channels == 3:
            pixels = pixels[..., ::-1]
        return np.ascontiguousarray(pixels)

    def _check_channels(self, raster: Raster, remedy: str) -> None:
        """Check that the number of channels fits the model; one that takes three takes grey too."""
        there, count = raster.shape[2], self.channels
        if there != count and (there, count) != (1, 3):
            has = f"{there} channel{'s' * (there != 1)}"
            takes = f"{count} channel{'s' * (count != 1)}{' or a grey one' * (count == 3)}"
            raise DataError(f"{raster.name} has {has}, and the model takes {takes}: {remedy}")


def _check_values(raster: Raster, percentiles: Sequence[float], remedy: str) -> None:
    """Check that the values can become 0..255."""
    name, dtype = raster.name, raster.dtype
    if not np.issubdtype(dtype, np.number):
        raise DataError(f"{name} is {dtype}, which is not a number")
    if np.issubdtype(dtype, np.complexfloating):
        raise DataError(f"{name} is of complex numbers: take their magnitude or phase")
    if not percentiles and dtype != np.uint8:
        raise DataError(f"{name} is {dtype}, not 8-bit: {remedy}")
