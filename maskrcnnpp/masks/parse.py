"""COCO's segmentations, checked before pycocotools sees them, which trusts what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.rle import Rle, encode_crop, rle_of_edges, uncompressed

# of the image's longer side, that a polygon may reach out of it: pycocotools takes memory for
# every pixel of an outline, wherever it lies
_REACH = 1.0


class OutsideError(DataError):
    """A segmentation has its points outside the image."""


def checked_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Any of COCO's segmentations as compressed RLE, pixel for pixel as pycocotools reads it.

    Args:
        segmentation: polygons (flat lists x, y in pixels; what lies in any of them is object), or
            RLE with counts as a list or compressed (str or bytes).
        height, width: of the image, pixels.

    Raises:
        DataError: it is none of these, is broken, is of another size than the image, or has no
            pixel. The message holds the reason only; the caller knows the annotation.
    """
    if isinstance(segmentation, Mapping):
        runs = _runs_of(segmentation, height, width)
        return rle_of_edges(np.cumsum(runs)[:-1], height, width)
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, (str, bytes)):
        raise DataError("has no segmentation: polygons or RLE are needed")
    if not segmentation:
        raise DataError("has an empty segmentation: draw it again, or remove it")
    rings = [_ring(ring, height, width) for ring in segmentation]
    merged = coco_mask.merge(coco_mask.frPyObjects(rings, height, width))
    if coco_mask.area(merged) == 0:
        raise OutsideError("has no pixel inside the image")
    return {"size": [height, width], "counts": merged["counts"].decode("ascii")}


def mask_with_holes(segmentation: Any, height: int, width: int) -> tuple[Rle, bool]:
    """The mask of :func:`checked_rle`, but with holes where a polygon lies inside another.

    Returns:
        the mask, and whether it has such holes.

    Raises:
        DataError: see :func:`checked_rle`; or nothing is left.
    """
    whole = checked_rle(segmentation, height, width)
    if not isinstance(segmentation, Sequence) or len(segmentation) < 2:
        return whole, False
    rings = coco_mask.frPyObjects([list(map(float, r)) for r in segmentation], height, width)
    depths = depths_of(rings)
    if not any(depths):
        return whole, False
    filled = np.zeros((height, width), dtype=bool)
    for depth in range(max(depths) + 1):
        level = [ring for ring, own in zip(rings, depths) if own == depth]
        filled[coco_mask.decode(coco_mask.merge(level)).astype(bool)] = depth % 2 == 0
    return encode_crop(filled, 0, 0, height, width), True


def depths_of(rings: Sequence[Any]) -> list[int]:
    """How many other polygons each lies in, wholly and without being as large.

    Args:
        rings: each as RLE of the image, bytes.
    """
    areas = coco_mask.area(rings).tolist()
    boxes = coco_mask.toBbox(rings)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    around = (low[:, None] >= low[None]).all(axis=2) & (high[:, None] <= high[None]).all(axis=2)
    depths = [0] * len(rings)
    for inner, outer in zip(*np.nonzero(around)):
        if 0 < areas[inner] < areas[outer]:
            both = coco_mask.merge([rings[inner], rings[outer]], intersect=True)
            depths[inner] += int(coco_mask.area(both)) == areas[inner]
    return depths


def _ring(ring: Any, height: int, width: int) -> list[float]:
    try:
        numbers = np.asarray(ring)
    except ValueError:  # lists of several lengths
        numbers = np.empty((0, 0))
    if numbers.dtype.kind not in "iuf" or numbers.ndim != 1:
        raise DataError("has a polygon that is no list of numbers x, y, x, y, ...")
    if len(numbers) % 2:
        raise DataError(f"has a polygon of {len(numbers)} numbers, which are no pairs x, y")
    if len(numbers) < 6:
        raise DataError(f"has a polygon of {len(numbers) // 2} points; it takes three or more")
    if not np.isfinite(numbers).all():
        raise DataError("has a polygon with a coordinate that is no finite number")
    reach = _REACH * max(height, width)
    points = numbers.reshape(-1, 2)
    if (points < -reach).any() or (points > np.array([width, height]) + reach).any():
        raise OutsideError("has a polygon that reaches far out of the image")
    return numbers.astype(np.float64).tolist()


def _runs_of(segmentation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """Lengths of runs that fill the image, int64; some may be 0."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, Sequence) or len(size) != 2 or counts is None:
        raise DataError('has an RLE without "size" (height, width) or "counts"')
    if list(size) != [height, width]:
        raise DataError(
            f"has a mask of {size[1]}x{size[0]} pixels for an image of {width}x{height}"
        )
    if isinstance(counts, (str, bytes)):
        runs = uncompressed(counts)
    else:
        runs = _listed(counts)
    # each first: a sum of large ones may overflow
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise DataError(f"has an RLE whose runs do not add up to {width}x{height} pixels")
    return runs


def _listed(counts: Any) -> np.ndarray:
    try:
        runs = np.asarray(counts)
    except ValueError:
        runs = np.empty((0, 0))
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise DataError("has an RLE whose counts are no list of integers")
    return runs.astype(np.int64)
