"""Polygons of which a part is broken, without that part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maskrcnnpp.masks.measure import Measured, measure
from maskrcnnpp.masks.rings import TOO_LONG, flat_numbers


def mend(
    objects: Sequence[tuple[Any, int, int]],
) -> list[tuple[list | None, Measured]]:
    """Usable parts of segmentations that :func:`measure` has a problem with.

    Rings without a fault are kept as they are; those that reach far out of the image are cut off
    at its edge; others are left out.

    Args:
        objects: segmentation, height and width of the image.

    Returns:
        the polygons and what is known of them; None where there is no mask.
    """
    rings = [(row, ring, size) for row, (found, *size) in enumerate(objects) for ring in _of(found)]
    kept: list[list] = [[] for _ in objects]
    far = []
    measured = list(measure(([ring], *size) for _, ring, size in rings))
    for (row, ring, size), mask in zip(rings, measured):
        if TOO_LONG in mask.problem:
            far.append((row, clip(ring, *size), size))
        elif not mask.problem:
            kept[row].append(ring)
    for (row, ring, _), mask in zip(far, list(measure(([ring], *size) for _, ring, size in far))):
        if not mask.problem:
            kept[row].append(ring)
    masks = measure((own or None, *size) for own, (_, *size) in zip(kept, objects))
    return [(None if mask.problem else own, mask) for own, mask in zip(kept, list(masks))]


def clip(ring: Sequence[float], height: int, width: int) -> list[float]:
    """The part of a polygon inside the image, by Sutherland and Hodgman, edge after edge.

    Args:
        ring: x, y, x, y, ... in pixels.
        height, width: of the image.

    Returns:
        the same way; empty where nothing is left.
    """
    points = flat_numbers([ring]).reshape(-1, 2)
    for axis, limit, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        if not len(points):
            break
        inside = sign * (points[:, axis] - limit) >= 0
        before, was_inside = np.roll(points, 1, axis=0), np.roll(inside, 1)
        with np.errstate(all="ignore"):  # what is not finite is found by the caller
            part = (limit - before[:, axis]) / (points - before)[:, axis]
            crossing = before + part[:, None] * (points - before)
        crossing[:, axis] = limit
        # of every point: where its edge enters or leaves, then itself
        both = np.stack((crossing, points), axis=1)
        points = both[np.stack((inside != was_inside, inside), axis=1)]
    return points.ravel().tolist()


def _of(segmentation: Any) -> list:
    """The rings of polygons; one list of numbers is one ring."""
    if not isinstance(segmentation, list):
        return []
    if segmentation and set(map(type, segmentation)) <= {int, float}:
        return [segmentation]
    return segmentation
