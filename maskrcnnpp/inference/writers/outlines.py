"""Outlines of masks as polygons with holes, along the sides of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from maskrcnnpp.errors import UserError
from maskrcnnpp.inference.tiling import Detection

if TYPE_CHECKING:
    from shapely.geometry import MultiPolygon, Polygon


def outline(entry: Detection) -> Polygon | MultiPolygon:
    """The mask as a shape of the same area, in pixels of the image: pixel (0, 0) is the square from
    (0, 0) to (1, 1).

    Valid, and with a vertex only where the outline turns. Pixels that share no more than a corner
    are in parts of their own, which touch there.

    Raises:
        UserError: shapely is not installed.
    """
    try:
        import shapely
    except ImportError as error:
        raise UserError(
            "outlines need shapely: pip install 'maskrcnnpp[outlines]', or leave out this format"
        ) from error
    # a part at a time: two that touch at a corner would get a ring that meets itself
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(
        entry.pixels.astype(np.uint8), connectivity=4
    )
    parts = []
    for label, (x, y, width, height, _) in enumerate(boxes[1:].tolist(), start=1):
        part = labels[y : y + height, x : x + width] == label
        rings = [ring + (entry.left + x, entry.top + y) for ring in rings_of(part)]
        parts.append(shapely.Polygon(rings[0], rings[1:]))
    shape = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return shapely.remove_repeated_points(shape)


def rings_of(part: np.ndarray) -> list[np.ndarray]:
    """The outer side of a 4-connected bool (h, w), then its holes: (n, 2) corners of pixels, x, y.

    A corner may follow itself. Of a mask in several parts: all sides of all of them.
    """
    # OpenCV's contours run through the centres of pixels. With each pixel drawn as 2x2, the centre
    # of each of the four stands for the corner next to it.
    twice = part.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour[:, 0] + 1) // 2 for contour in contours]
