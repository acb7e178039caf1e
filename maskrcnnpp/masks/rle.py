"""Run-length masks made inside an object's box, without a full-image array."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from pycocotools import mask as coco_mask


class Rle(TypedDict):
    """A COCO run-length mask: ``size`` is [height, width], ``counts`` the compressed runs."""

    size: list[int]
    counts: str


def encode_crop(crop: np.ndarray, top: int, left: int, height: int, width: int) -> Rle:
    """Encode a mask known inside a box as the COCO RLE of the whole image.

    Args:
        crop: (h, w), bool or any number type; non-zero is object.
        top, left: where the crop's first pixel lies in the image, pixels.
        height, width: size of the image, pixels. The crop must lie inside it.

    Returns:
        the same RLE that ``pycocotools.mask.encode`` gives for the full-image mask, with
        ``counts`` as str so that it can go into JSON.

    Raises:
        ValueError: the crop reaches outside the image.
    """
    rows, columns = crop.shape
    if top < 0 or left < 0 or top + rows > height or left + columns > width:
        raise ValueError(f"crop {rows}x{columns} at ({top}, {left}) is outside {height}x{width}")
    # COCO runs go down the columns: all columns in one line, each between two empty pixels, so
    # that runs start and end, in turn, wherever two pixels differ
    line = np.zeros((columns, rows + 2), dtype=bool)
    line[:, 1:-1] = crop.T
    line = line.ravel()
    x, y = np.divmod(np.flatnonzero(line[1:] != line[:-1]), rows + 2)
    edges = (x + left) * height + (y + top)
    if rows == height:  # a run can go on from the foot of a column to the head of the next
        joined = 2 * np.flatnonzero(edges[1:-1:2] == edges[2::2]) + 1
        edges = np.delete(edges, np.concatenate((joined, joined + 1)))
    counts = np.append(edges, height * width)
    counts[1:] -= edges
    if counts[-1] == 0:
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}
