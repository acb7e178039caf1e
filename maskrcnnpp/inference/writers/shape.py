"""Measurements of the shape of a mask."""

from __future__ import annotations

import math

import cv2
import numpy as np
from skimage.measure import grid_points_in_poly, perimeter

from maskrcnnpp.inference.tiling import Detection

# the middles of the sides of a pixel of 2x2, from its centre
_SIDES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.int32)


def measure_shape(entry: Detection) -> dict[str, float]:
    """What skimage.measure.regionprops measures, in a tenth of its time.

    Returns:
        area, pixels; centroid x and y, of pixel centres in the whole image, from 0; major_axis and
        minor_axis, pixels, and eccentricity of the ellipse of the same second moments; solidity, the
        area over the pixels whose centres are in the convex hull; perimeter, pixels.
    """
    pixels = entry.pixels.astype(np.uint8)
    moments = cv2.moments(pixels)
    names = ("m00", "m10", "m01", "m20", "m02", "m11")
    # as integers, which they are: a line has a minor axis of 0 and a square an eccentricity of 0
    area, sum_x, sum_y, sum_xx, sum_yy, sum_xy = (int(moments[name]) for name in names)
    # covariance of the pixel centres, times area**2, and its eigenvalues
    xx, yy = area * sum_xx - sum_x**2, area * sum_yy - sum_y**2
    xy = area * sum_xy - sum_x * sum_y
    difference = math.hypot(xx - yy, 2 * xy)
    large = (xx + yy + difference) / 2
    small = (xx * yy - xy**2) / large if large else 0.0
    return {
        "area": area,
        "x": sum_x / area + entry.left,
        "y": sum_y / area + entry.top,
        "major_axis": 4 * math.sqrt(large) / area,
        "minor_axis": 4 * math.sqrt(small) / area,
        "eccentricity": math.sqrt(difference / large) if large else 0.0,
        "solidity": area / _convex_area(pixels),
        "perimeter": float(perimeter(pixels)),
    }


def _convex_area(pixels: np.ndarray) -> int:
    # As skimage.morphology.convex_hull_image: the hull of the middles of the pixels' sides, and the
    # pixels with their centre inside or on it. Coordinates are doubled: whole numbers.
    contours, _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    centres = cv2.convexHull(2 * np.concatenate(contours))
    hull = cv2.convexHull((centres + _SIDES).reshape(-1, 2))[:, 0]
    return np.count_nonzero(grid_points_in_poly(pixels.shape, hull[:, ::-1] / 2, binarize=False))
