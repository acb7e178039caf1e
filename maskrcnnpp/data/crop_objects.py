"""Annotations in Detectron2's form, before its mapper moves them along with the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from pycocotools import mask as coco_mask

from maskrcnnpp.data.augment.geometry import Elastic
from maskrcnnpp.masks.polygons import polygon_mask

_MARGIN = 8  # pixels by which resizing and turning may round a mask to beyond its moved box


def drop_objects_outside_crop(
    annotations: Sequence[dict[str, Any]],
    transforms: T.TransformList,
    size: tuple[int, int],
    moved_size: tuple[int, int],
) -> list[dict[str, Any]]:
    """The annotations whose masks may have a pixel in the moved image.

    Most objects of a crowded image are not in a crop, and to decode and move their masks takes far
    longer than to look where they are.

    Args:
        annotations: with ``segmentation``, polygons or RLE.
        transforms: of the image.
        size, moved_size: height and width of the image before and after these.
    """
    if not annotations:
        return []
    boxes = np.array([_extent(entry["segmentation"], size) for entry in annotations], dtype=float)
    moved = transforms.apply_box(boxes)
    # bending: a corner of the box may go one way, and the mask the other
    margin = _MARGIN + 2 * sum(t.reach for t in transforms.transforms if isinstance(t, Elastic))
    height, width = moved_size
    is_far = (moved[:, :2] >= (width + margin, height + margin)).any(axis=1)
    is_far |= (moved[:, 2:] <= -margin).any(axis=1)
    return [entry for entry, far in zip(annotations, is_far) if not far]


def _extent(segmentation: Any, size: tuple[int, int]) -> Sequence[float]:
    """Left, top, right and bottom of a mask; of one that cannot be used the whole image."""
    if isinstance(segmentation, dict) and tuple(segmentation["size"]) == size:
        x, y, width, height = coco_mask.toBbox(segmentation)
        return x, y, x + width, y + height
    if isinstance(segmentation, list) and any(map(len, segmentation)):
        points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in segmentation])
        return *points.min(axis=0), *points.max(axis=0)
    # Detectron2 says what is wrong with it
    return 0, 0, size[1], size[0]


def without_polygons(
    annotations: Sequence[dict[str, Any]], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """The same with RLE for polygons; those without a pixel are left out.

    Args:
        annotations: with ``segmentation``, polygons or RLE.
        size: height and width of the image.

    Raises:
        ValueError: see :func:`maskrcnnpp.masks.polygons.polygon_mask`.
    """
    kept = []
    for entry in annotations:
        mask = entry["segmentation"]
        if isinstance(mask, list):
            mask = polygon_mask(mask, (), *size)
        if mask is not None:
            kept.append({**entry, "segmentation": mask})
    return kept


def no_objects(size: tuple[int, int], mask_format: str) -> Instances:
    """Instances that the mapper makes for an image without objects, masks included.

    Args:
        size: height and width of the image.
        mask_format: INPUT.MASK_FORMAT.
    """
    is_polygon = mask_format == "polygon"
    masks = PolygonMasks([]) if is_polygon else BitMasks(torch.zeros(0, *size, dtype=torch.bool))
    classes = torch.zeros(0, dtype=torch.int64)
    return Instances(size, gt_boxes=Boxes(torch.zeros(0, 4)), gt_classes=classes, gt_masks=masks)
