"""Run-length masks: encoded from a crop or from edges, and their runs."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import DataError

LARGEST_IMAGE = 2**31 - 1  #: pixels that the run lengths of COCO reach
_DIGITS = 7  # of 5 bits, of one run length: more than the largest image takes


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


def rle_fault(segmentation: Mapping[str, Any], height: int, width: int) -> str:
    """Why an RLE does not fit an image, before its lengths are added up; empty if it may.

    Args:
        segmentation: anything with keys.
        height, width: of the image, pixels.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not (isinstance(size, list) and [type(side) for side in size] == [int, int]):
        return "RLE without its size, [height, width]"
    if size != [height, width]:
        return f"RLE of {_sides(*size)} pixels for an image of {_sides(height, width)}"
    if not isinstance(counts, (str, bytes, list, array)):
        return "RLE without counts: text or a list of whole numbers is needed"
    if len(counts) == 0:
        return "RLE without a run: it is empty"
    if isinstance(counts, str) and not counts.isascii():
        return "RLE with broken counts: there are characters that do not occur in them"
    if not isinstance(counts, (str, bytes)) and not (
        set(map(type, counts)) <= {int} and all(0 <= length <= LARGEST_IMAGE for length in counts)
    ):
        return "RLE with broken counts: there are such as are no whole numbers, or below 0"
    return ""


def _sides(height: int, width: int) -> str:
    if max(abs(height), abs(width)) > LARGEST_IMAGE:
        return "impossibly many"
    return f"{width}x{height}"


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
    counts = uncompressed(rle["counts"])
    return np.cumsum(counts)[: len(counts) // 2 * 2 : 2], counts[1::2]


def uncompressed(counts: str | bytes) -> np.ndarray:
    """Run lengths of COCO's compressed RLE, int64.

    Raises:
        DataError: it is damaged.
    """
    text = counts.encode("utf-8") if isinstance(counts, str) else counts
    if text:
        runs, _, broken = unpack([text])
        if not broken[0]:
            return runs
    raise DataError("has a compressed RLE that is damaged")


def unpack(packed: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run lengths of COCO's compressed RLEs, many at a time.

    Here since pycocotools reads past the end of broken texts, and does not give the lengths.

    Args:
        packed: the counts, none of them empty.

    Returns:
        int64: the lengths of all in one line; how many each has; bool: which are broken.
    """
    sizes = np.array([len(text) for text in packed])
    ends = np.cumsum(sizes) - 1
    digits = np.frombuffer(b"".join(packed), dtype=np.uint8).astype(np.int64) - ord("0")
    owner = np.repeat(np.arange(len(packed)), sizes)
    broken = np.zeros(len(packed), dtype=bool)
    broken[owner[(digits < 0) | (digits > 63)]] = True
    # the lowest 5 bits come first, and bit 6 says that more follow
    is_last = digits & 32 == 0
    broken |= ~is_last[ends]
    is_last[ends] = True
    first = np.concatenate(([0], np.flatnonzero(is_last)[:-1] + 1))
    lengths = np.add.reduceat(is_last.astype(np.int64), ends - sizes + 1)
    digits_each = np.diff(np.append(first, len(digits)))
    place = np.arange(len(digits)) - np.repeat(first, digits_each)
    broken[owner[place >= _DIGITS]] = True
    values = np.add.reduceat((digits & 31) << (5 * np.minimum(place, _DIGITS)), first)
    is_negative = digits[is_last] & 16 != 0
    values[is_negative] -= 1 << (5 * np.minimum(digits_each[is_negative], _DIGITS))
    # from the fourth on they are differences to the one before the last
    starts = np.cumsum(lengths) - lengths
    number = np.arange(len(values)) - np.repeat(starts, lengths)
    odd, even = (np.where(which, values, 0) for which in (number % 2 == 1, number % 2 == 0))
    even[starts] = 0
    counts = np.where(
        number % 2 == 1, sums_of_each(odd, starts, lengths), sums_of_each(even, starts, lengths)
    )
    counts[starts] = values[starts]
    return counts, lengths, broken


def sums_of_each(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Running sums that begin anew at every start."""
    total = np.cumsum(values)
    return total - np.repeat(total[starts] - values[starts], lengths)
