"""COCO's segmentations, checked before pycocotools sees them, which trusts what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.rle import Rle
from maskrcnnpp.masks.rle_text import unpack

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


def rle_of_edges(edges: np.ndarray, height: int, width: int) -> Rle:
    """The mask that changes between background and object at each edge.

    Args:
        edges: integers in any order: places in the image, counted from 0 down the columns. One
            that occurs twice is none.
        height, width: of the image, pixels.

    Raises:
        DataError: the mask has no pixel.
    """
    places, times = np.unique(edges, return_counts=True)
    places = places[(times % 2 == 1) & (places < height * width)]
    if len(places) == 0:
        raise DataError("has no pixel")
    counts = np.diff(places, prepend=0, append=height * width)
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def runs_of_object(rle: Rle) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs of a mask begin, counted from 0 down the columns, and their lengths."""
    counts = _uncompressed(rle["counts"])
    return np.cumsum(counts)[: len(counts) // 2 * 2 : 2], counts[1::2]


def crop_of(rle: Rle) -> tuple[np.ndarray, int, int]:
    """A mask inside its tight box, without an array of the whole image.

    Args:
        rle: as :func:`checked_rle` gives it, of one pixel at least.

    Returns:
        bool (h, w), and the row and column in the image of its first pixel.
    """
    starts, lengths = runs_of_object(rle)
    ends = np.cumsum(lengths)
    pixels = np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
    columns, rows = np.divmod(pixels, rle["size"][0])
    top, left = int(rows.min()), int(columns[0])
    crop = np.zeros((int(rows.max()) - top + 1, int(columns[-1]) - left + 1), dtype=bool)
    crop[rows - top, columns - left] = True
    return crop, top, left


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
        runs = _uncompressed(counts)
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


def _uncompressed(counts: str | bytes) -> np.ndarray:
    text = counts.encode("utf-8") if isinstance(counts, str) else counts
    if text:
        runs, _, broken = unpack([text])
        if not broken[0]:
            return runs
    raise DataError("has a compressed RLE that is damaged")
