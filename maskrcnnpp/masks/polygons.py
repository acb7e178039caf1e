"""Polygons to masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.masks.rle import Rle, encode_crop

_LONGEST = 2**22  # pixels, of an outline

#: Points x, y in pixels, (N, 2): pixel (0, 0) is the square from (0, 0) to (1, 1).
Ring = Sequence[Sequence[float]] | np.ndarray


def polygon_mask(
    outer: Sequence[Ring], holes: Sequence[Ring], height: int, width: int
) -> Rle | None:
    """What lies in any outer ring and in no hole, as COCO rasterises polygons.

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
    if not filled.any():
        return None
    rows, columns = (np.flatnonzero(filled.any(axis=axis)) for axis in (1, 0))
    crop = filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return encode_crop(crop, int(low[1] + rows[0]), int(low[0] + columns[0]), height, width)


def _shifted(ring: np.ndarray, low: np.ndarray) -> np.ndarray:
    """The ring in the window; rounded first, as pycocotools does, which a shift would change."""
    return np.where(low > 0, np.floor(5 * ring + 0.5) / 5 - low, ring)


def _filled(rings: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Bool (height, width)."""
    rles = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], height, width)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)
