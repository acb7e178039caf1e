"""Outlines of masks as polygons with holes, along the sides of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maskrcnnpp.errors import UserError
from maskrcnnpp.inference.tiling import Detection

if TYPE_CHECKING:
    from shapely.geometry import MultiPolygon, Polygon


def outline(entry: Detection) -> Polygon | MultiPolygon:
    """The mask as a shape of the same area, in pixels of the image: pixel (0, 0) is the square from
    (0, 0) to (1, 1).

    Raises:
        UserError: shapely is not installed.
    """
    try:
        import shapely
    except ImportError as error:
        raise UserError(
            "outlines need shapely: pip install 'maskrcnnpp[outlines]', or leave out this format"
        ) from error
    # runs of each row as rectangles: their union is the mask, to the pixel
    padded = np.pad(entry.pixels, ((0, 0), (1, 1))).astype(np.int8)
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, ends = np.nonzero(np.diff(padded, axis=1) == -1)
    top, left = entry.top, entry.left
    boxes = shapely.box(starts + left, rows + top, ends + left, rows + top + 1)
    return shapely.union_all(boxes)
