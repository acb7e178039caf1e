"""How large the objects of an image are beside those that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
#: What objects of another size have to have at least: a mean score, by area, and a fraction of the
#: window. An image without objects would else be resized until its noise looks like some.
_CONFIDENT, _COVERED = 0.85, 0.02


def estimate_scale(
    find: Callable[[Tile, float], Sequence[Detection]], height: int, width: int
) -> float:
    """Factor by which to resize an image so that its objects are of a size that the model knows.

    The middle of the image is looked at as it is. Where its objects are of a known size and not
    doubtful, that is the answer. Otherwise it is looked at smaller or larger too, and the size at
    which objects cover clearly more of it is taken, if they are of a known size there, and sure.
    ``docs/benchmarks/scales.py`` measures it.

    Args:
        find: the objects of a rectangle of the image, which is resized by a factor, in pixels of
            the image.
        height, width: of the image, pixels.

    Returns:
        0.25, 0.5, 1 or 2.
    """
    seen = _look(find, height, width, 1.0)
    if seen.is_known and seen.confidence >= _DOUBTFUL:
        return 1.0
    best, least = 1.0, max(_COVERED, (_FAR if seen.is_known else _CLEARLY) * seen.covered)
    for scale in _to_try(seen):
        other = _look(find, height, width, scale)
        if other.is_known and other.confidence >= _CONFIDENT and other.covered > least:
            best, least = scale, _CLEARLY * other.covered
    return best


@dataclass(frozen=True)
class _Look:
    """Numbers about the objects found in the middle of an image that was resized."""

    diameter: float | None  #: of its objects, pixels of the resized image; None: there are none
    confidence: float  #: mean score, by area
    covered: float  #: fraction of what was looked at; doubtful objects count little

    @property
    def is_known(self) -> bool:
        lowest, highest = KNOWN_DIAMETERS
        return self.diameter is not None and lowest <= self.diameter <= highest


def _look(
    find: Callable[[Tile, float], Sequence[Detection]], height: int, width: int, scale: float
) -> _Look:
    window = _middle(height, width, round(_WINDOW / scale))
    found = find(window, scale)
    if (diameter := typical_diameter(found)) is None:
        return _Look(None, 0.0, 0.0)
    area = (window.bottom - window.top) * (window.right - window.left)
    return _Look(
        scale * diameter,
        confidence=sum(x.area * x.score for x in found) / sum(x.area for x in found),
        covered=sum(x.area * x.score**4 for x in found) / area,
    )


def _to_try(seen: _Look) -> tuple[float, ...]:
    """Factors, after an image was seen as it is."""
    if seen.diameter is None:
        return _SMALLER  # magnified, noise looks like small objects
    if seen.confidence < _DOUBTFUL and seen.diameter < _SMALL:
        return _SMALLER + _LARGER
    return _LARGER if seen.diameter < KNOWN_DIAMETERS[0] else _SMALLER


def typical_diameter(objects: Sequence[Detection]) -> float | None:
    """Pixels of the disk of an object's area: the median of objects, each weighted by its area.

    By area, because what a model makes of objects that are too large for it is many small ones.
    """
    if not objects:
        return None
    areas = np.sort([entry.area for entry in objects])
    middle = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]
    return float(2 * np.sqrt(middle / np.pi))


def _middle(height: int, width: int, size: int) -> Tile:
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return Tile(top, left, min(height, top + size), min(width, left + size))
