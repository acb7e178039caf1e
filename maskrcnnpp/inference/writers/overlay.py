"""Outlines drawn on the image, to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from maskrcnnpp.files import write_bytes
from maskrcnnpp.images import encode_image
from maskrcnnpp.images.display import as_rgb
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.visualization import PALETTE

_LARGEST = 4096  # pixels a side; of larger images a thumbnail is written


def write_overlay(objects: Objects, info: Info, path: Path) -> None:
    """PNG; contrast is stretched unless the image is 8-bit. A thumbnail where it is very large.

    Of two objects that overlap the one with the higher score is drawn on top.
    """
    small = info.raster.thumbnail(_LARGEST)
    canvas = as_rgb(small, info.raster.is_colour).copy()  # it is drawn on
    height, width = objects.image_size
    scale = np.array([canvas.shape[1] / width, canvas.shape[0] / height])  # of x and y
    for number, entry in reversed(list(zip(objects.numbers, objects))):
        outlines, _ = cv2.findContours(
            entry.pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        scaled = [
            np.floor((line + (entry.left, entry.top) + 0.5) * scale).astype(np.int32)
            for line in outlines
        ]
        cv2.polylines(canvas, scaled, isClosed=True, color=PALETTE[number % len(PALETTE)])
    write_bytes(path, encode_image(canvas)[0])
