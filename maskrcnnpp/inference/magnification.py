"""How large the objects of an image are beside those that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maskrcnnpp.inference.tiling import Detection, Tile

#: Pixels: of objects of a diameter between these an image is taken as it is. A model that was
#: trained with sizes changed by half to twice knows them.
KNOWN_DIAMETERS = (8.0, 60.0)
#: Objects below this score do not count here, even where lower ones are asked for.
SURE = 0.5
_DOUBTFUL = 0.8  # mean score, by area. The texture of large objects looks like small doubtful ones
_SMALL = 20.0  # pixels: doubtful objects below this may be larger ones, or smaller ones
#: Factors that are tried where objects may be larger, and smaller.
_SMALLER, _LARGER = (0.5, 0.25), (2.0,)
_WINDOW = 1024  # pixels a side of what is looked at, after resizing
#: Times as much of the window that objects of another size have to cover, and where the size is a
#: known one. Images of an unusual kind have doubtful objects too: they are better left as they are.
_CLEARLY, _FAR = 1.25, 2.0


def estimate_scale(
    find: Callable[[Tile, float], Sequence[Detection]], height: int, width: int
) -> float:
    """Factor by which to resize an image so that its objects are of a size that the model knows.

    The middle of the image is looked at as it is. Where its objects are of a known size and not
    doubtful, that is the answer. Otherwise it is looked at smaller or larger too, and the size at
    which objects cover clearly more of it is taken; doubtful ones count little.
    ``docs/benchmarks/scales.py`` measures it.

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
    is_known = diameter is not None and KNOWN_DIAMETERS[0] <= diameter <= KNOWN_DIAMETERS[1]
    is_doubtful = diameter is not None and _confidence(found) < _DOUBTFUL
    if is_known and not is_doubtful:
        return 1.0
    tried: tuple[float, ...] = _SMALLER + _LARGER
    if diameter is not None and not (is_doubtful and diameter < _SMALL):
        tried = _LARGER if diameter < KNOWN_DIAMETERS[0] else _SMALLER
    best, least = 1.0, (_FAR if is_known else _CLEARLY) * _covered(found, window)
    for scale in tried:
        window = _middle(height, width, round(_WINDOW / scale))
        covered = _covered(find(window, scale), window)
        if covered > least:
            best, least = scale, _CLEARLY * covered
    return best


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
