"""How large the objects of an image are beside those that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maskrcnnpp.inference.tiling import Detection, Tile

#: Pixels: of objects of a diameter between these an image is taken as it is. A model that was
#: trained with sizes changed by half to twice knows them.
KNOWN_DIAMETERS = (8.0, 45.0)
#: Objects below this score do not count here, even where lower ones are asked for.
SURE = 0.5
_CONFIDENT = 0.9  # mean score, by area. The texture of large objects looks like small doubtful ones
_SMALL = 20.0  # pixels: doubtful objects below this may be larger ones, or smaller ones
#: Factors that are tried where objects may be larger, and smaller.
_SMALLER, _LARGER = (0.5, 0.25), (2.0,)
_WINDOW = 1024  # pixels a side of what is looked at, after resizing
_CLEARLY = 1.05  # times as much of the window has to be covered by objects at another size


def estimate_scale(
    find: Callable[[Tile, float], Sequence[Detection]], height: int, width: int
) -> float:
    """Factor by which to resize an image so that its objects are of a size that the model knows.

    The middle of the image is looked at as it is. Where its objects are of a known size and
    confident, that is the answer. Otherwise it is looked at smaller or larger too, and the size at
    which confident objects cover most of it is taken. ``docs/benchmarks/scales.py`` measures it.

    Args:
        find: the objects of a rectangle of the image, which is resized by a factor, in pixels of
            the image.
        height, width: of the image, pixels.

    Returns:
        0.25, 0.5, 1 or 2.
    """
    window = _middle(height, width, _WINDOW)
    found = find(window, 1.0)
    diameter = typical_diameter(found)
    best, covered = 1.0, _covered(found, window)
    for scale in _others(diameter, found):
        window = _middle(height, width, round(_WINDOW / scale))
        now = _covered(find(window, scale), window)
        if now > _CLEARLY * covered:
            best, covered = scale, now
    return best


def _others(diameter: float | None, found: Sequence[Detection]) -> tuple[float, ...]:
    """Factors to try beside 1."""
    if diameter is None:
        return _SMALLER + _LARGER
    if _confidence(found) < _CONFIDENT:
        return _SMALLER + _LARGER if diameter < _SMALL else _SMALLER
    if diameter < KNOWN_DIAMETERS[0]:
        return _LARGER
    return () if diameter <= KNOWN_DIAMETERS[1] else _SMALLER


def typical_diameter(objects: Sequence[Detection]) -> float | None:
    """Pixels of the disk of an object's area: the median of objects, each weighted by its area.

    By area, because what a model makes of objects that are too large for it is many small ones.
    """
    if not objects:
        return None
    areas = np.sort([entry.area for entry in objects])
    middle = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]
    return float(2 * np.sqrt(middle / np.pi))


def _confidence(objects: Sequence[Detection]) -> float:
    """Mean score of objects, each weighted by its area."""
    return sum(x.area * x.score for x in objects) / sum(x.area for x in objects)


def _covered(objects: Sequence[Detection], window: Tile) -> float:
    """Fraction of the window that objects cover; doubtful ones count little."""
    area = (window.bottom - window.top) * (window.right - window.left)
    return sum(x.area * x.score**4 for x in objects) / area


def _middle(height: int, width: int, size: int) -> Tile:
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return Tile(top, left, min(height, top + size), min(width, left + size))
