"""Images of another size, as a model takes them."""

from __future__ import annotations

import cv2
import numpy as np


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """A model input (C, H, W), float32, of another size; at least a pixel a side."""
    height, width = (max(1, round(side * scale)) for side in image.shape[1:])
    pixels = resized_to(image.transpose(1, 2, 0), height, width)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def resized_to(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (H, W, C), float32, of that size."""
    if (height, width) == pixels.shape[:2]:
        return pixels
    # averaged where it shrinks, as the images of a training are
    is_smaller = height < pixels.shape[0]
    how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    return cv2.resize(pixels, (width, height), interpolation=how).reshape(height, width, -1)
