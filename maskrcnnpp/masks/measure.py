"""Area, box and faults of many COCO segmentations, without decoding a mask.

Run-length masks are read here, in numpy and many at a time: pycocotools reads past the end of
broken ones, and takes a call an object.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from scipy import ndimage

from maskrcnnpp.masks.parse import depths_of
from maskrcnnpp.masks.rings import find_faults, flat_numbers
from maskrcnnpp.masks.rle import rle_fault, sums_of_each, unpack

_INSIDE = "a polygon lies inside another: COCO fills it; a hole needs run lengths (RLE)"
_CHUNK = 1024, 2**20  # objects and run lengths at a time: some 100 bytes for each of these


class Measured(NamedTuple):
    """Measurements of a segmentation, or the problem with it."""

    problem: str = ""
    """Why there is no mask; empty where there is one."""
    warning: str = ""
    area: int = 0
    """Pixels."""
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    """x, y, width, height; pixels."""
    key: bytes = b""
    """The same for the same mask, however it is written."""
    pieces: int = 1
    """Parts that touch nowhere, corners included."""


def measure(objects: Iterable[tuple[Any, int, int]]) -> Iterator[Measured]:
    """Each object's area, box and faults, in the order given.

    Args:
        objects: segmentation (anything that JSON can hold), height and width of its image;
            height * width is from 1 to :data:`LARGEST_IMAGE`.
    """
    chunk, runs = [], 0
    for one in objects:
        chunk.append(one)
        runs += _runs_at_most(one[0])
        if len(chunk) >= _CHUNK[0] or runs >= _CHUNK[1]:
            yield from _measure_chunk(chunk)
            chunk, runs = [], 0
    yield from _measure_chunk(chunk)


def _runs_at_most(segmentation: Any) -> int:
    """Largest possible number of runs of an RLE; 0 for an outline, which is not rasterised yet."""
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    return len(counts) if isinstance(counts, str | list) else 0


def _measure_chunk(chunk: Sequence[tuple[Any, int, int]]) -> list[Measured]:
    problems: dict[int, str] = {}
    packed: dict[int, bytes] = {}
    plain: dict[int, list[int]] = {}
    polygons: dict[int, list] = {}
    for index, (segmentation, height, width) in enumerate(chunk):
        if isinstance(segmentation, list) and segmentation:
            polygons[index] = segmentation
            continue
        counts, problem = _counts(segmentation, height, width)
        if problem:
            problems[index] = problem
        elif isinstance(counts, bytes):
            packed[index] = counts
        else:
            plain[index] = counts
    sizes = {index: chunk[index][1:] for index in polygons}
    rings, bad, crossing = find_faults(polygons, sizes)
    problems |= bad
    packed |= _rasterise(rings, sizes, crossing)

    order = [*packed, *plain]
    heights = np.array([chunk[index][1] for index in order], dtype=np.int64)
    widths = np.array([chunk[index][2] for index in order], dtype=np.int64)
    results = [Measured(problem=problems.get(index, "")) for index in range(len(chunk))]
    if order:
        counts, lengths, broken = _runs(list(packed.values()), list(plain.values()))
        measured = _measure_runs(counts, lengths, broken, heights, widths)
        for index, found in zip(order, measured):
            if index in polygons and found.problem:
                found = Measured("covers no pixel of the image")
            results[index] = found._replace(warning=crossing.get(index, ""))
    return results


def _counts(segmentation: Any, height: int, width: int) -> tuple[bytes | list[int], str]:
    """The runs of an RLE as they are written, and what is wrong with it."""
    if segmentation is None:
        return b"", "missing: no 'segmentation'"
    if segmentation == [] or segmentation == {}:
        return b"", "empty: no polygon and no RLE"
    if not isinstance(segmentation, dict):
        return b"", f"neither polygons nor an RLE, but of type {type(segmentation).__name__}"
    if fault := rle_fault(segmentation, height, width):
        return b"", fault
    counts = segmentation["counts"]
    return (counts.encode("ascii") if isinstance(counts, str) else counts), ""


def _rasterise(
    rings: dict[int, list[np.ndarray]],
    sizes: dict[int, tuple[int, int]],
    warnings: dict[int, str],
) -> dict[int, bytes]:
    """RLE counts of each object: one call for all objects of images of one size.

    ``warnings`` says, by object, where a polygon lies inside another.
    """
    groups = defaultdict(list)
    for index in rings:
        groups[sizes[index]].append(index)
    counts = {}
    for (height, width), indices in groups.items():
        flat = [ring.ravel() for index in indices for ring in rings[index]]
        rles = iter(coco_mask.frPyObjects(flat, height, width))
        for index in indices:
            own = list(islice(rles, len(rings[index])))
            if len(own) > 1 and any(depths_of(own)):
                warnings.setdefault(index, _INSIDE)
            counts[index] = (own[0] if len(own) == 1 else coco_mask.merge(own))["counts"]
    return counts


def _runs(
    packed: Sequence[bytes], plain: Sequence[list[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The run lengths of all masks in one line, how many each has, and whether it is broken."""
    counts, lengths, broken = (np.zeros(0, dtype) for dtype in (np.int64, np.int64, bool))
    if packed:
        counts, lengths, broken = unpack(packed)
    if plain:
        counts = np.concatenate((counts, flat_numbers(plain).astype(np.int64)))
        lengths = np.concatenate((lengths, [len(one) for one in plain]))
        broken = np.concatenate((broken, np.zeros(len(plain), dtype=bool)))
    return counts, lengths, broken


def _measure_runs(
    counts: np.ndarray,
    lengths: np.ndarray,
    broken: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
) -> list[Measured]:
    starts = np.cumsum(lengths) - lengths
    height, width = np.repeat(heights, lengths), np.repeat(widths, lengths)
    broken = broken | (np.minimum.reduceat(counts, starts) < 0)
    stop = sums_of_each(counts, starts, lengths)
    begin, last = stop - counts, stop - 1
    filled = np.where((np.arange(len(counts)) - np.repeat(starts, lengths)) % 2 == 1, counts, 0)
    areas = np.add.reduceat(filled, starts)
    # a run over the foot of a column covers all rows, as those before and after it do
    wraps = begin // height != last // height
    there = filled > 0
    left = np.where(there, begin // height, width)
    right = np.where(there, last // height, -1)
    top = np.where(there, np.where(wraps, 0, begin % height), height)
    bottom = np.where(there, np.where(wraps, height - 1, last % height), -1)
    x, y = np.minimum.reduceat(left, starts), np.minimum.reduceat(top, starts)
    wide = np.maximum.reduceat(right, starts) + 1 - x
    high = np.maximum.reduceat(bottom, starts) + 1 - y
    boxes = np.stack((x, y, wide, high), axis=1).tolist()
    missing = (heights * widths - stop[starts + lengths - 1]).tolist()
    results = []
    for row, (start, length) in enumerate(zip(starts, lengths)):
        if broken[row]:
            results.append(Measured("RLE counts are broken: they are no run lengths"))
        elif missing[row]:
            way = "end {} pixels before" if missing[row] > 0 else "run {} pixels past"
            way = way.format(abs(missing[row]))
            results.append(Measured(f"RLE counts are broken: they {way} the end of the image"))
        elif not areas[row]:
            results.append(Measured("empty: a mask without a pixel"))
        else:
            own = counts[start : start + length]
            pieces = _pieces(own, int(heights[row]), boxes[row])
            results.append(Measured("", "", int(areas[row]), tuple(boxes[row]), _key(own), pieces))
    return results


def _pieces(counts: np.ndarray, height: int, box: Sequence[int]) -> int:
    """Number of pieces of a mask of at least one pixel."""
    stop = np.cumsum(counts)
    begin, last = stop[:-1:2], stop[1::2] - 1
    begin, last = begin[last >= begin], last[last >= begin]
    columns, rows, ends = begin // height, begin % height, last % height
    if (columns == last // height).all() and (np.diff(columns) == 1).all():
        # a run in each column: enough for most, and far faster
        apart = (rows[1:] > ends[:-1] + 1) | (rows[:-1] > ends[1:] + 1)
        return 1 + int(np.count_nonzero(apart))
    pixels = np.arange(last.size and (last - begin + 1).sum())
    ends = np.cumsum(last - begin + 1)
    pixels += np.repeat(begin - ends + (last - begin + 1), last - begin + 1)
    crop = np.zeros((box[3], box[2]), dtype=bool)
    crop[pixels % height - box[1], pixels // height - box[0]] = True
    return ndimage.label(crop, np.ones((3, 3)))[1]


def _key(counts: np.ndarray) -> bytes:
    """A digest of the runs; of no length, or split in two, they make the same mask."""
    if not counts[1:].all():
        total = counts.sum()
        edges, times = np.unique(np.cumsum(counts), return_counts=True)
        edges = edges[(times % 2 == 1) & (edges < total)]
        counts = np.diff(np.concatenate(([0], edges, [total])))
    return hashlib.blake2b(counts.tobytes(), digest_size=16).digest()
