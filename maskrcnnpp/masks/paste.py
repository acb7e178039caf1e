"""RLE-native masks: from box and RoI mask to COCO RLE, without a full-image mask in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes
from pycocotools import mask as coco_mask

from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.rle import Rle


def paste_masks(
    masks: torch.Tensor,
    boxes: Boxes | torch.Tensor,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> Iterator[Crop]:
    """RoI masks pasted into the image, each inside its box only.

    Pixel for pixel what :func:`detectron2.layers.paste_masks_in_image` gives on the CPU, in memory
    that does not grow with the image.

    Args:
        masks: (N, M, M) or (N, 1, M, M), probabilities 0..1. On any device; the work is done on
            the CPU, where sampling may round otherwise than on a GPU.
        boxes: N boxes x0, y0, x1, y1 in pixels of the image; they may reach outside it.
        height, width: size of the image, pixels.
        threshold: probability from which a pixel is object.

    Returns:
        N masks, one after the other; that of a box outside the image has no pixel.

    Raises:
        ValueError: there are not as many boxes as masks, masks are not square, or a box is not
            finite.
    """
    if isinstance(boxes, Boxes):
        boxes = boxes.tensor
    if masks.dim() == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.dim() != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks are (N, M, M) or (N, 1, M, M), not {tuple(masks.shape)}")
    if boxes.shape != (len(masks), 4):
        raise ValueError(f"{len(masks)} masks need as many boxes, not {tuple(boxes.shape)}")
    masks = masks.detach().to("cpu", torch.float32)
    boxes = boxes.detach().to("cpu", torch.float32).numpy()
    if len(wrong := np.flatnonzero(~np.isfinite(boxes).all(axis=1))):
        raise ValueError(f"box {wrong[0]} is not finite: {boxes[wrong[0]].tolist()}")
    windows = _windows(boxes, height, width)
    return (_paste(*entry, threshold) for entry in zip(masks, boxes, windows))


def encode_masks(
    masks: torch.Tensor,
    boxes: Boxes | torch.Tensor,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> list[Rle]:
    """:func:`paste_masks` as COCO RLE of the whole image: the strings that pycocotools gives."""
    crops = paste_masks(masks, boxes, height, width, threshold)
    return [crop.rle(height, width) for crop in crops]


def _windows(boxes: np.ndarray, height: int, width: int) -> list[list[int]]:
    """Pixels left, top, right, bottom of the part of the image that Detectron2 pastes into."""
    low, high = np.floor(boxes[:, :2]) - 1, np.ceil(boxes[:, 2:]) + 1
    size = np.array([width, height], dtype=np.float32)
    # also from above: a box to the right of the image has an empty window
    corners = np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)], axis=1)
    return corners.astype(int).tolist()


def _paste(mask: torch.Tensor, box: np.ndarray, window: Sequence[int], threshold: float) -> Crop:
    left, top, right, bottom = window
    if right <= left or bottom <= top:
        return Crop(0, 0, np.zeros((0, 0), dtype=bool))
    x0, y0, x1, y1 = box
    # the operations of Detectron2 in its order and precision, so that no pixel rounds otherwise
    x = (np.arange(left, right, dtype=np.float32) + np.float32(0.5) - x0) / (x1 - x0) * 2 - 1
    y = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5) - y0) / (y1 - y0) * 2 - 1
    grid = np.empty((1, len(y), len(x), 2), dtype=np.float32)
    grid[..., 0] = x
    grid[..., 1] = y[:, None]
    pasted = F.grid_sample(mask[None, None], torch.from_numpy(grid), align_corners=False)
    return Crop(top, left, pasted[0, 0].numpy() >= np.float32(threshold))


class RleMasks:
    """Masks of N objects of one image as COCO RLE: a field of Detectron2's ``Instances``.

    The counterpart of :class:`detectron2.structures.BitMasks` that does not fill an image for each
    object.
    """

    def __init__(self, rles: Sequence[Rle], height: int, width: int) -> None:
        """
        Args:
            rles: COCO RLEs of the whole image.
            height, width: its size, pixels.
        """
        self.rles = list(rles)
        self.image_size = (height, width)

    def __len__(self) -> int:
        return len(self.rles)

    def __getitem__(self, item: int | slice | Sequence | torch.Tensor) -> RleMasks:
        """Those at an index, a slice, indices, or where a bool tensor is true."""
        if isinstance(item, torch.Tensor):
            item = item.cpu().numpy()
        if not isinstance(item, slice):
            item = np.atleast_1d(np.asarray(item))
            item = item if item.dtype == bool else item.astype(np.int64)  # an empty list is float
        chosen = np.arange(len(self))[item]
        return RleMasks([self.rles[index] for index in chosen], *self.image_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """One full-image mask after the other, bool (height, width), as evaluators take them."""
        for rle in self.rles:
            yield torch.from_numpy(coco_mask.decode(rle)).bool()

    def to(self, *args: object, **kwargs: object) -> RleMasks:
        """Itself: RLEs are on no device."""
        return self

    def area(self) -> np.ndarray:
        """Pixels of each object, int64 (N,)."""
        return np.array([coco_mask.area(rle) for rle in self.rles], dtype=np.int64)

    def bitmasks(self) -> torch.Tensor:
        """The masks as Detectron2 has them, bool (N, height, width). Takes N images of memory."""
        masks = torch.zeros((len(self), *self.image_size), dtype=torch.bool)
        for row, mask in zip(masks, self):
            row.copy_(mask)
        return masks

    @staticmethod
    def cat(parts: Sequence[RleMasks]) -> RleMasks:
        """Masks of one image, one after the other."""
        return RleMasks([rle for part in parts for rle in part.rles], *parts[0].image_size)
