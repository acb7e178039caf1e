"""Objects whose masks overlap: each pixel to one of them, for all outputs alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np

from maskrcnnpp.inference.tiling import Detection, cells, shared_place, view

#: Fraction of an object's pixels that it keeps at least; one that keeps less is dropped.
KEPT = 0.5


def resolve_overlaps(objects: Sequence[Detection]) -> list[Detection]:
    """Give each pixel to the object with the highest score there.

    An object that keeps less than :data:`KEPT` of its pixels was found twice, or is an account of
    several others: it is dropped, and takes no pixel from those below. One that is cut in two keeps
    its largest part.

    Args:
        objects: by falling score.

    Returns:
        Objects that share no pixel, in the same order. The box of one that lost pixels is that of
        its mask.
    """
    kept: list[Detection] = []
    by_cell: dict[tuple[int, int], list[int]] = defaultdict(list)
    for entry in objects:
        nearby = sorted({index for cell in cells(entry) for index in by_cell.get(cell, ())})
        free = _without(entry, [kept[index] for index in nearby])
        if np.count_nonzero(free) < KEPT * entry.area:
            continue
        if np.count_nonzero(free) < entry.area:
            part = _with_pixels(entry, _largest_part(free))
            if part is None:
                continue
            entry = part
        for cell in cells(entry):
            by_cell[cell].append(len(kept))
        kept.append(entry)
    return kept


def _without(entry: Detection, others: Sequence[Detection]) -> np.ndarray:
    """The object's pixels that none of the others has."""
    free = entry.pixels.copy()
    for other in others:
        if place := shared_place(entry, other):
            view(free, entry, place)[...] &= ~view(other.pixels, other, place)
    return free


def _largest_part(pixels: np.ndarray) -> np.ndarray:
    count, parts = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=4)
    if count < 3:  # the background is one
        return pixels
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def _with_pixels(entry: Detection, pixels: np.ndarray) -> Detection | None:
    """The object with another mask, in the same window; None if its largest part is too small."""
    if np.count_nonzero(pixels) < KEPT * entry.area:
        return None
    ys, xs = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    top, left = entry.top + int(ys[0]), entry.left + int(xs[0])
    bottom, right = entry.top + int(ys[-1]) + 1, entry.left + int(xs[-1]) + 1
    return Detection(
        box=(float(left), float(top), float(right), float(bottom)),
        score=entry.score,
        category=entry.category,
        pixels=pixels[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1],
        top=top,
        left=left,
    )
