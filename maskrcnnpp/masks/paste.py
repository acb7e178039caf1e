"""RLE-native masks: from box and RoI mask to COCO RLE, without a full-image mask in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.rle import Rle

if TYPE_CHECKING:
    import torch
    from detectron2.structures import Boxes

_PIXELS = 2**17  # that are sampled at a time: a call of NumPy for each object would take longer
_MARGIN = 2  # empty pixels around a mask, so that samples beside it need no case of their own


def paste_masks(
    masks: torch.Tensor | np.ndarray,
    boxes: Boxes | torch.Tensor | np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> Iterator[Crop]:
    """RoI masks pasted into the image, each inside its box only.

    Pixel for pixel what :func:`detectron2.layers.paste_masks_in_image` gives on the CPU, in memory
    that does not grow with the image.

    Args:
        masks: (N, M, M) or (N, 1, M, M), probabilities 0..1. Tensors on any device; the work is
            done on the CPU, where sampling may round otherwise than on a GPU.
        boxes: N boxes x0, y0, x1, y1 in pixels of the image; they may reach outside it.
        height, width: size of the image, pixels.
        threshold: probability from which a pixel is object.

    Returns:
        N masks, one after the other; that of a box outside the image has no pixel.

    Raises:
        ValueError: there are not as many boxes as masks, masks are not square, or a box is not
            finite.
    """
    masks, boxes = _array(masks), _array(getattr(boxes, "tensor", boxes))
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks are (N, M, M) or (N, 1, M, M), not {masks.shape}")
    if boxes.shape != (len(masks), 4):
        raise ValueError(f"{len(masks)} masks need as many boxes, not {boxes.shape}")
    if len(wrong := np.flatnonzero(~np.isfinite(boxes).all(axis=1))):
        raise ValueError(f"box {wrong[0]} is not finite: {boxes[wrong[0]].tolist()}")
    return _pasted(masks, boxes, _windows(boxes, height, width), threshold)


def encode_masks(
    masks: torch.Tensor | np.ndarray,
    boxes: Boxes | torch.Tensor | np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> list[Rle]:
    """:func:`paste_masks` as COCO RLE of the whole image: the strings that pycocotools gives."""
    crops = paste_masks(masks, boxes, height, width, threshold)
    return [crop.rle(height, width) for crop in crops]


def _array(values: Any) -> np.ndarray:
    """A tensor or array as float32 on the CPU."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float32)


def _windows(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels left, top, right, bottom of the part of the image that Detectron2 pastes into.

    int64 (N, 4).
    """
    low, high = np.floor(boxes[:, :2]) - 1, np.ceil(boxes[:, 2:]) + 1
    size = np.array([width, height], dtype=np.float32)
    # also from above: a box to the right of the image has an empty window
    corners = np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)], axis=1)
    return corners.astype(np.int64)


def _pasted(
    masks: np.ndarray, boxes: np.ndarray, windows: np.ndarray, threshold: float
) -> Iterator[Crop]:
    lefts, tops = windows[:, :2].T
    sizes = np.maximum(windows[:, 2:] - windows[:, :2], 0)
    sizes[(sizes == 0).any(axis=1)] = 0
    widths, heights = sizes.T
    # in bands of rows, one where a window is not large
    step = np.maximum(1, _PIXELS // np.maximum(widths, 1))
    count = np.maximum(1, -(-heights // step))
    owner = np.repeat(np.arange(len(masks)), count)
    above = (np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)) * step[owner]
    high = np.minimum(step[owner], heights[owner] - above)
    batch = np.cumsum(high * widths[owner]) // _PIXELS
    objects = iter(zip(tops.tolist(), lefts.tolist(), heights.tolist(), widths.tolist()))
    entry = next(objects, None)
    ready = np.zeros(0, bool)  # pixels of windows, one after the other
    for number in np.unique(batch):
        some = batch == number
        of = owner[some]
        values = _sampled(
            masks[of], boxes[of], lefts[of], (tops[owner] + above)[some], widths[of], high[some]
        )
        ready = np.concatenate([ready, values >= np.float32(threshold)])
        while entry and (area := entry[2] * entry[3]) <= len(ready):
            yield Crop(*entry[:2], ready[:area].reshape(entry[2:]))
            entry, ready = next(objects, None), ready[area:]


def _sampled(
    masks: np.ndarray,
    boxes: np.ndarray,
    left: np.ndarray,
    top: np.ndarray,
    widths: np.ndarray,
    heights: np.ndarray,
) -> np.ndarray:
    """Masks sampled at the middles of the pixels of windows, one after the other, row by row.

    Args:
        masks, boxes: of :func:`paste_masks`, as arrays.
        left, top, widths, heights: of the windows, pixels of the image, (N,).

    Returns:
        float32 (sum of widths * heights,), bilinear, 0 outside the mask.
    """
    padded = np.pad(masks, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    count, side, line = padded.shape
    columns, east, west = _axis(left, widths, boxes[:, 0], boxes[:, 2], masks.shape[2])
    rows, south, north = _axis(top, heights, boxes[:, 1], boxes[:, 3], masks.shape[1])
    rows = (rows + np.repeat(np.arange(count) * side, heights)) * line
    # of each pixel: its row and column in these
    across = np.repeat(widths, heights)
    row = np.repeat(np.arange(len(rows)), across)
    begin = np.repeat(np.cumsum(widths) - widths, heights) - (np.cumsum(across) - across)
    column = np.arange(len(row)) + begin[row]

    place, values = rows[row] + columns[column], padded.ravel()
    east, west, south, north = east[column], west[column], south[row], north[row]
    # in the order and precision of PyTorch's grid_sample, so that no pixel rounds otherwise: what
    # is added to a sum is not rounded before
    total = west * north * values[place]
    for weight, shift in ((east * north, 1), (west * south, line), (east * south, line + 1)):
        total = (weight.astype(np.float64) * values[shift:][place] + total).astype(np.float32)
    return total


def _axis(
    start: np.ndarray, lengths: np.ndarray, low: np.ndarray, high: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the pixels of windows lie in their masks, along one axis.

    Args:
        start, lengths: of the windows, pixels, (N,).
        low, high: sides of the boxes, float32 (N,).
        side: of a mask.

    Returns:
        of each pixel of each window, (sum of lengths,): the place in the padded mask below it, and
        the weights of the next place and of this one.
    """
    ends = np.cumsum(lengths)
    pixel = np.arange(lengths.sum()) + np.repeat(start - ends + lengths, lengths)
    low, high = np.repeat(low, lengths), np.repeat(high, lengths)
    # the operations of Detectron2 in its order and precision
    with np.errstate(divide="ignore", invalid="ignore"):  # a box without extent has no pixel
        where = (pixel.astype(np.float32) + np.float32(0.5) - low) / (high - low) * 2 - 1
        where = ((where + 1).astype(np.float64) * (side / 2) - 0.5).astype(np.float32)
        below = np.floor(where)
        weight = where - below
    place = np.clip(np.nan_to_num(below, nan=side), -_MARGIN, side).astype(np.int64) + _MARGIN
    return place, weight, 1 - weight


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
        """The masks at an index, a slice, indices, or where a bool tensor is true."""
        if hasattr(item, "cpu"):
            item = item.cpu().numpy()
        if not isinstance(item, slice):
            item = np.atleast_1d(np.asarray(item))
            item = item if item.dtype == bool else item.astype(np.int64)  # an empty list is float
        chosen = np.arange(len(self))[item]
        return RleMasks([self.rles[index] for index in chosen], *self.image_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """One full-image mask after the other, bool (height, width), as evaluators take them."""
        import torch

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
        import torch

        masks = torch.zeros((len(self), *self.image_size), dtype=torch.bool)
        for row, mask in zip(masks, self):
            row.copy_(mask)
        return masks

    @staticmethod
    def cat(parts: Sequence[RleMasks]) -> RleMasks:
        """Masks of one image, one after the other."""
        return RleMasks([rle for part in parts for rle in part.rles], *parts[0].image_size)
