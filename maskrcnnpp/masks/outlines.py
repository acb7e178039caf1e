"""Outlines of files to run-length masks. Errors hold the reason only; the caller knows the name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.polygons import polygon_mask
from maskrcnnpp.masks.rle import Rle, encode_crop


def make_ring(points: Any) -> np.ndarray:
    """Points as float64 (N, 2), x and y in pixels; further numbers of a point are left out.

    Raises:
        DataError: they are no list of points.
    """
    try:
        ring = np.asarray(points, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError("has points that are no pairs of numbers") from error
    if ring.size == 0:
        return np.empty((0, 2))
    if ring.ndim != 2 or ring.shape[1] < 2:
        raise DataError("has points that are no pairs of numbers")
    ring = ring[:, :2]
    if not np.isfinite(ring).all():
        raise DataError("has a coordinate that is no finite number")
    return ring


def ring_mask(outer: Any, holes: Sequence[Any], height: int, width: int) -> Rle | None:
    """What lies in a ring and in no hole; None where that is no pixel of the image.

    Raises:
        DataError: see :func:`make_ring`; or the outline is longer than any real one.
    """
    rings = [make_ring(ring) for ring in (outer, *holes)]
    # an outline of two points, and a hole of two points, has no area
    rings = [*rings[:1], *(ring for ring in rings[1:] if len(ring) > 2)]
    if len(rings[0]) < 3:
        return None
    try:
        return polygon_mask(rings[:1], rings[1:], height, width)
    except ValueError as error:
        raise DataError(f"has {error}") from error


def ellipse_mask(
    middle: tuple[float, float], radii: tuple[float, float], height: int, width: int
) -> Rle | None:
    """The pixels with their centre in an ellipse along the axes; None where there is none.

    Args:
        middle, radii: x and y, pixels.
        height, width: of the image, pixels.

    Raises:
        DataError: a number is not finite.
    """
    place = np.array([middle, radii], dtype=np.float64)
    if not np.isfinite(place).all():
        raise DataError("has a coordinate that is no finite number")
    if (place[1] <= 0).any():
        return None
    low = np.clip(np.floor(place[0] - place[1]), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(place[0] + place[1]), 0, (width, height)).astype(int)
    if (high <= low).any():
        return None
    with np.errstate(over="ignore"):  # of the tiniest ellipses
        x, y = (
            ((np.arange(low[axis], high[axis]) + 0.5 - place[0, axis]) / place[1, axis]) ** 2
            for axis in (0, 1)
        )
    inside = x[None] + y[:, None] <= 1
    return encode_crop(inside, low[1], low[0], height, width) if inside.any() else None


def union(masks: Iterable[Rle | None]) -> Rle | None:
    """What lies in any mask; None where there is none."""
    there = [mask for mask in masks if mask is not None]
    if len(there) < 2:
        return there[0] if there else None
    merged = coco_mask.merge(there)
    return {"size": list(merged["size"]), "counts": merged["counts"].decode("ascii")}
