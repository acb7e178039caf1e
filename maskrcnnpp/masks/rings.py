"""Faults of COCO polygons, found for many at a time."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

try:
    import shapely
except ImportError:  # an extra
    shapely = None

CHECKS_CROSSINGS = shapely is not None  #: whether outlines that cross themselves are found
#: Pixels along an outline that pycocotools is trusted with: it takes 80 bytes for each.
LONGEST_OUTLINE = 2_000_000

TOO_LONG = "too long to be rasterised"
FLAT = "one list of numbers where a list of polygons is needed"


def flat_numbers(lists: Sequence[Sequence[float]]) -> np.ndarray:
    """All numbers in one line, float64; whole numbers beyond its range become infinite."""
    try:
        return np.array(list(chain.from_iterable(lists)), dtype=np.float64)
    except OverflowError:
        return np.array([_as_float(n) for one in lists for n in one], dtype=np.float64)


def find_faults(
    polygons: Mapping[int, list], sizes: Mapping[int, tuple[int, int]]
) -> tuple[dict[int, list[np.ndarray]], dict[int, str], dict[int, str]]:
    """The rings of objects as arrays, or why they cannot be.

    Args:
        polygons: by object, a list of anything, not empty.
        sizes: by object, height and width of its image, pixels.

    Returns:
        by object: rings (N, 2) of those without a fault; the first fault of each of the others;
        and what looks like a mistake in one without.
    """
    rings, owners, numbers = [], [], []
    problems: dict[int, str] = {}
    for index, segmentation in polygons.items():
        if set(map(type, segmentation)) <= {int, float}:
            problems[index] = FLAT
            continue
        for number, ring in enumerate(segmentation):
            if problem := fault_of_list(ring):
                problems.setdefault(index, _named(problem, number, segmentation))
            else:
                rings.append(ring)
                owners.append(index)
                numbers.append(number)
    if not rings:
        return {}, problems, {}
    points = flat_numbers(rings).reshape(-1, 2)
    lengths = np.array([len(ring) // 2 for ring in rings])
    limits = np.array([sizes[index][::-1] for index in owners])
    for row, problem in _faults_of_points(points, lengths, limits).items():
        index = owners[row]
        problems.setdefault(index, _named(problem, numbers[row], polygons[index]))
    good: dict[int, list[np.ndarray]] = defaultdict(list)
    for index, ring in zip(owners, np.split(points, np.cumsum(lengths)[:-1])):
        if index not in problems:
            good[index].append(ring)
    return dict(good), problems, _crossings(good)


def fault_of_list(ring: Any) -> str:
    """Why a list cannot be a polygon, whatever its numbers are; empty where it can."""
    if not isinstance(ring, (list, tuple, array)):
        return f"no list of numbers, but of type {type(ring).__name__}"
    if not set(map(type, ring)) <= {int, float}:
        return "no list of numbers"
    if len(ring) % 2:
        return f"an odd number of coordinates, {len(ring)}"
    if len(ring) < 6:
        return f"{len(ring) // 2} points; at least 3 enclose something"
    return ""


def _faults_of_points(
    points: np.ndarray, lengths: np.ndarray, limits: np.ndarray
) -> dict[int, str]:
    """Faults by number of the ring.

    Args:
        points: (M, 2) of all rings, x, y.
        lengths: (N,) points a ring.
        limits: (N, 2) width and height of the image of each.
    """
    starts = np.cumsum(lengths) - lengths
    ends = starts + lengths - 1
    finite = np.logical_and.reduceat(np.isfinite(points).all(axis=1), starts)
    low = np.minimum.reduceat(points, starts)
    high = np.maximum.reduceat(points, starts)
    outside = ((high <= 0) | (low >= limits)).any(axis=1)
    following = np.roll(points, -1, axis=0)
    following[ends] = points[starts]
    with np.errstate(invalid="ignore", over="ignore"):
        outline = np.add.reduceat(np.abs(following - points).max(axis=1), starts)
    closed = (points[starts] == points[ends]).all(axis=1)
    few = lengths - closed < 3
    faults = {}
    for row in np.flatnonzero(~finite | outside | few | (outline > LONGEST_OUTLINE)).tolist():
        if not finite[row]:
            faults[row] = "a coordinate that is not finite"
        elif few[row]:
            faults[row] = "2 points, the first of them twice; at least 3 enclose something"
        elif outside[row]:
            faults[row] = "wholly outside the image"
        else:
            faults[row] = f"an outline of {outline[row]:.3g} pixels, {TOO_LONG}"
    return faults


def _crossings(rings: Mapping[int, list[np.ndarray]]) -> dict[int, str]:
    """Objects of which an outline crosses itself."""
    flat = [(index, ring) for index, own in rings.items() for ring in own]
    if shapely is None or not flat:
        return {}
    lengths = [len(ring) for _, ring in flat]
    lines = shapely.linearrings(
        np.concatenate([ring for _, ring in flat]), indices=np.repeat(np.arange(len(flat)), lengths)
    )
    shapes = shapely.polygons(lines)
    invalid = np.flatnonzero(~shapely.is_valid(shapes))
    # not "Ring Self-intersection", of an outline that only touches itself
    return {
        flat[row][0]: f"outline crosses itself: {reason}"
        for row, reason in zip(invalid, shapely.is_valid_reason(shapes[invalid]))
        if reason.startswith("Self-intersection")
    }


def _named(problem: str, number: int, segmentation: list) -> str:
    which = f" {number + 1} of {len(segmentation)}" if len(segmentation) > 1 else ""
    return f"polygon{which}: {problem}"


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")
