"""Polygons, rings and ellipses to masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.rle import Rle, encode_crop

_LONGEST = 2**22  # pixels, of an outline

#: Points x, y in pixels, (N, 2): pixel (0, 0) is the square from (0, 0) to (1, 1).
Ring = Sequence[Sequence[float]] | np.ndarray


def polygon_mask(
    outer: Sequence[Ring], holes: Sequence[Ring], height: int, width: int
) -> Rle | None:
    """Mask of what lies in any outer ring and in no hole, as COCO rasterises polygons.

    Done inside the box of the rings only. What reaches outside the image is cut off.

    Args:
        outer: rings of an object, each of three points or more.
        holes: rings.
        height, width: of the image, pixels.

    Returns:
        the mask; None where no pixel is left.

    Raises:
        ValueError: a ring has fewer than three points, a coordinate that is not finite, or is
            longer than any image's.
    """
    rings = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in (*outer, *holes)]
    for ring in rings:
        if len(ring) < 3:
            raise ValueError(f"a ring of {len(ring)} points encloses nothing")
        if not np.isfinite(ring).all():
            raise ValueError("a coordinate is not finite")
        # pycocotools reserves memory by the length of an outline
        if np.abs(np.diff(ring, axis=0, append=ring[:1])).sum() > _LONGEST:
            raise ValueError("an outline that leads far out of any image")
    corners = np.concatenate(rings[: len(outer)])
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, (width, height)).astype(int)
    if (high <= low).any():
        return None
    size = high - low
    filled = _filled([_shifted(ring, low) for ring in rings[: len(outer)]], *size[::-1])
    if holes:
        filled &= ~_filled([_shifted(ring, low) for ring in rings[len(outer) :]], *size[::-1])
    crop = Crop(int(low[1]), int(low[0]), filled).tight()
    return crop and crop.rle(height, width)


def make_ring(points: Any) -> np.ndarray:
    """Points as float64 (N, 2), x and y in pixels; further numbers of a point are left out.

    Raises:
        DataError: they are not a list of points.
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
        raise DataError("has a coordinate that is not a finite number")
    return ring


def ring_mask(outer: Any, holes: Sequence[Any], height: int, width: int) -> Rle | None:
    """Mask of what lies in a ring and in no hole; None where it has no pixel in the image.

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
        raise DataError("has a coordinate that is not a finite number")
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
    """Union of the masks that are there; None where there is none."""
    there = [mask for mask in masks if mask is not None]
    if len(there) < 2:
        return there[0] if there else None
    merged = coco_mask.merge(there)
    return {"size": list(merged["size"]), "counts": merged["counts"].decode("ascii")}


def _shifted(ring: np.ndarray, low: np.ndarray) -> np.ndarray:
    """The ring in the window; rounded first, as pycocotools does, which a shift would change."""
    return np.where(low > 0, np.floor(5 * ring + 0.5) / 5 - low, ring)


def _filled(rings: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Bool (height, width)."""
    rles = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], height, width)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)
