"""labelme's files, for the tests beside this."""

from __future__ import annotations

import base64
import json

import numpy as np
from dsb2018_source import png
from outline_sources import (
    HEIGHT,
    WIDTH,
    box_mask,
    square,
)


def shape(points, kind="polygon", label="nucleus", group=None, **more):
    found = {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}
    return {**found, **more}


def content(*shapes, path="a.png", data=None, **more) -> bytes:
    file = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": path,
        "imageData": data,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    return json.dumps({**file, **more}).encode()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bits(mask: np.ndarray) -> str:
    return encoded(png(mask.astype(np.uint8) * 255))


ONE = shape(square(2, 3, 10, 8))
BOX = box_mask(3, 2, 8, 10)
