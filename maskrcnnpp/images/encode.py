"""Arrays to image files."""

from __future__ import annotations

import io

import cv2
import numpy as np
import tifffile


def encode_image(pixels: np.ndarray) -> tuple[bytes, str]:
    """The array as a file without loss: PNG where that can be, TIFF otherwise.

    Args:
        pixels: (height, width) or (height, width, channels), any number type; three channels are
            red, green and blue.

    Returns:
        the file and its suffix.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype in (np.uint8, np.uint16) and channels in (1, 3):
        ordered = pixels[..., ::-1] if channels == 3 else pixels
        return cv2.imencode(".png", np.ascontiguousarray(ordered))[1].tobytes(), ".png"
    file = io.BytesIO()
    if channels == 3:
        tifffile.imwrite(file, pixels, photometric="rgb", compression="zlib")
    elif channels == 1:
        tifffile.imwrite(file, pixels.reshape(pixels.shape[:2]), compression="zlib")
    else:
        planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
        options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "compression": "zlib"}
        tifffile.imwrite(file, planes, ome=True, **options)
    return file.getvalue(), ".tif"
