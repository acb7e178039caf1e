"""Outlines drawn on the image, to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from maskrcnnpp.files import atomic_path
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.visualization import draw_outlines

_LARGEST = 4096  # pixels a side; of larger images a thumbnail is written


def write_overlay(objects: Objects, info: Info, path: Path) -> None:
    """PNG; contrast is stretched unless the image is 8-bit. A thumbnail where it is very large."""
    pixels = _to_8_bit(info.picture.pixels)
    drawn = draw_outlines(pixels, objects.rles())
    scale = _LARGEST / max(drawn.shape[:2])
    if scale < 1:
        drawn = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())


def _to_8_bit(pixels: np.ndarray) -> np.ndarray:
    """Red, green and blue as they are; other numbers of channels as the grey of their mean."""
    pixels = pixels[..., :3]
    if pixels.shape[2] != 3:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True).astype(pixels.dtype), 3, axis=2)
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    low, high = np.percentile(pixels, (1, 99.8))
    return (np.clip((pixels - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
