"""Images of any numbers and channels as red, green and blue, to look at."""

from __future__ import annotations

import os

import numpy as np

from maskrcnnpp.images import open_all_channels

#: Percentiles that become black and white where an image is not of 8 bits.
STRETCH = (1.0, 99.8)


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """An image file by :func:`as_rgb`.

    Raises:
        DataError: it cannot be read. The message names it.
    """
    with open_all_channels(path) as raster:
        return as_rgb(raster.whole(), raster.is_colour)


def as_rgb(pixels: np.ndarray, is_colour: bool) -> np.ndarray:
    """uint8 (height, width, 3); of other channels than colours the first three.

    Args:
        pixels: (height, width, channels).
        is_colour: whether the channels are grey, or red, green, blue, and perhaps alpha.
    """
    shown = to_8_bit(without_alpha(pixels, is_colour)[..., :3], is_colour)
    if shown.shape[2] == 1:
        return np.repeat(shown, 3, axis=2)
    missing = 3 - shown.shape[2]
    return np.ascontiguousarray(np.pad(shown, ((0, 0), (0, 0), (0, missing))))


def as_model_sees(pixels: np.ndarray, is_colour: bool) -> np.ndarray:
    """uint8 (height, width, channels): colour and grey as three, others all that there are.

    So a model gets them with INPUT.CHANNELS and INPUT.PERCENTILES as the inspection suggests.
    """
    return as_rgb(pixels, True) if is_colour else to_8_bit(pixels, is_colour)


def without_alpha(pixels: np.ndarray, is_colour: bool) -> np.ndarray:
    """(height, width, channels) without the channel that says what is transparent."""
    channels = pixels.shape[2]
    return pixels[..., : channels - 1] if is_colour and channels in (2, 4) else pixels


def to_8_bit(pixels: np.ndarray, is_colour: bool) -> np.ndarray:
    """uint8 of the same shape: 8 bits as they are, others stretched between percentiles.

    Red, green and blue are stretched alike, so that grey stays grey; other channels each alone.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, STRETCH, axis=None if is_colour else (0, 1))
    span = np.where(high > low, high - low, 1)
    return (np.clip((pixels - low) / span, 0, 1) * 255).round().astype(np.uint8)
