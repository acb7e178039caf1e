"""COCO's segmentations, checked before pycocotools sees them, which trusts what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.rings import fault_of_list, flat_numbers
from maskrcnnpp.masks.rle import Rle, encode_crop, rle_fault, rle_of_edges, uncompressed

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
        if fault := rle_fault(segmentation, height, width):
            raise DataError(f"has an {fault}")
        counts = segmentation["counts"]
        runs = uncompressed(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts)
        # each first: a sum of large ones may overflow
        if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
            raise DataError(f"has an RLE whose runs do not add up to {width}x{height} pixels")
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


def as_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Any of COCO's segmentations as compressed RLE, of which little is checked.

    Args:
        segmentation: polygons (flat lists x, y), RLE with a list of counts, or compressed RLE,
            which is returned as it is. Without a polygon the mask is empty.
        height, width: of the image, pixels.

    Raises:
        DataError: it is none of these.
    """
    try:
        if isinstance(segmentation, Mapping):
            if not isinstance(segmentation["counts"], list):
                return dict(segmentation)
            return coco_mask.frPyObjects(dict(segmentation), height, width)
        if len(segmentation) == 0:
            return coco_mask.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
        return coco_mask.merge(coco_mask.frPyObjects(list(segmentation), height, width))
    except Exception as error:  # pycocotools raises bare ones
        raise DataError(f"not a COCO segmentation: {str(segmentation)[:80]}: {error}") from error


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
    if fault := fault_of_list(ring):
        raise DataError(f"has a polygon: {fault}")
    numbers = flat_numbers([ring])
    if not np.isfinite(numbers).all():
        raise DataError("has a polygon with a coordinate that is not a finite number")
    reach = _REACH * max(height, width)
    points = numbers.reshape(-1, 2)
    if (points < -reach).any() or (points > np.array([width, height]) + reach).any():
        raise OutsideError("has a polygon that reaches far out of the image")
    return numbers.tolist()
