"""Label images to run-length masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from maskrcnnpp.masks.rle import Rle, encode_crop

_DENSE = 4  # labels a pixel up to which a table of all of them is not a waste


def label_masks(labels: np.ndarray) -> tuple[list[int], list[Rle]]:
    """The objects of a label image, by rising label; labels may skip numbers.

    The image is looked through once, not once an object.

    Args:
        labels: integers, (height, width); 0 is background, and none is below.

    Returns:
        the labels that occur, and the mask of each.
    """
    values, dense = np.unique(labels, return_inverse=True) if _is_sparse(labels) else (None, labels)
    if values is not None:
        dense = dense.reshape(labels.shape) + (values[0] != 0)  # 0 stays what background is
    boxes = ndimage.find_objects(dense.astype(np.int64, copy=False))
    found = [(number, box) for number, box in enumerate(boxes, start=1) if box is not None]
    masks = [
        encode_crop(dense[box] == number, box[0].start, box[1].start, *labels.shape)
        for number, box in found
    ]
    if values is None:
        return [number for number, _ in found], masks
    return [int(value) for value in values if value != 0], masks


def _is_sparse(labels: np.ndarray) -> bool:
    """Whether numbers are so large that a list of all up to the largest would be one too."""
    return labels.size > 0 and int(labels.max()) > _DENSE * labels.size
