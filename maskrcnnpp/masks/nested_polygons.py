"""Polygons of one object of which some lie inside others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.masks.parse import checked_rle
from maskrcnnpp.masks.rle import Rle, encode_crop


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
