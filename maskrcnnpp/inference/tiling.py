"""An image as overlapping tiles, and the objects of its tiles as those of the image."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

#: Pixels from a tile's side within which an object may have been cut by it.
BORDER = 2
#: Part of the smaller one's pixels from which two objects of different tiles are the same.
SAME = 0.5
_CELL = 128  # pixels; of the index that finds objects nearby


@dataclass(frozen=True)
class Tile:
    """A rectangle of the image, in pixels."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, eq=False)
class Detection:
    """An object of an image. Places are pixels of the whole image."""

    box: tuple[float, float, float, float]  #: x0, y0, x1, y1
    score: float
    category: int  #: the model's, 0..n-1
    pixels: np.ndarray  #: bool (h, w), with an object pixel in its first and last row and column
    top: int  #: of ``pixels``
    left: int

    @property
    def bottom(self) -> int:
        return self.top + self.pixels.shape[0]

    @property
    def right(self) -> int:
        return self.left + self.pixels.shape[1]

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.pixels))


def tile_image(height: int, width: int, size: int, overlap: int) -> list[Tile]:
    """Tiles of at most ``size`` pixels a side that cover the image, row by row.

    Neighbours share at least ``overlap`` pixels, so that an object of up to that size is whole in
    one of them. An image of up to ``size`` is one tile.

    Raises:
        ValueError: the overlap leaves less than half of a tile.
    """
    if not 0 <= 2 * overlap <= size or size < 1:
        raise ValueError(f"an overlap of {overlap} must be at most half of the tile, {size}")
    return [
        Tile(top, left, bottom, right)
        for top, bottom in _spans(height, size, overlap)
        for left, right in _spans(width, size, overlap)
    ]


def _spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    if length <= size:
        return [(0, length)]
    count = math.ceil((length - overlap) / (size - overlap))
    starts = [round(k * (length - size) / (count - 1)) for k in range(count)]
    return [(start, start + size) for start in starts]


def merge_tiles(
    tiles: Sequence[Tile],
    found: Sequence[Sequence[Detection]],
    height: int,
    width: int,
) -> list[Detection]:
    """Each object of the image once: none doubled, cut or lost where tiles meet.

    - Of objects that two tiles saw, the one with the higher score stays, and one that a tile's side
      may have cut gives way to one that is whole.
    - What no tile saw whole, because it is larger than the overlap, is joined from its parts where
      two tiles agree on what they share.

    Objects of one tile are left as the model gives them. The result does not depend on the order of
    the tiles.

    Args:
        tiles: of :func:`tile_image`.
        found: objects of each tile.
        height, width: size of the image.

    Returns:
        by falling score.
    """
    seam = _Seams(tiles)
    kept: list[Detection] = []
    whole: list[tuple[int, Detection]] = []
    parts: list[tuple[int, Detection]] = []
    for index, objects in enumerate(found):
        for entry in objects:
            if not seam.is_shared(entry):
                kept.append(entry)
            elif _is_cut(entry, tiles[index], height, width):
                parts.append((index, entry))
            else:
                whole.append((index, entry))
    nearby = _Nearby()
    _keep_new(whole, nearby)
    left = [entry for entry in parts if not nearby.has_same(*entry)]
    _keep_new(_joined(left, tiles), nearby)
    return sorted([*kept, *nearby.entries()], key=_rank)


def _rank(entry: Detection) -> tuple:
    # ties by place, so that the order of the tiles does not matter
    return (-entry.score, entry.top, entry.left, -entry.area)


class _Seams:
    """Where tiles overlap."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._rows = sorted({(tile.top, tile.bottom) for tile in tiles})
        self._columns = sorted({(tile.left, tile.right) for tile in tiles})

    def is_shared(self, entry: Detection) -> bool:
        """Whether another tile sees a pixel of its box."""
        rows = sum(entry.top < end and entry.bottom > start for start, end in self._rows)
        columns = sum(entry.left < end and entry.right > start for start, end in self._columns)
        return rows > 1 or columns > 1


def _is_cut(entry: Detection, tile: Tile, height: int, width: int) -> bool:
    """Whether it reaches a side of its tile behind which the image goes on."""
    return (
        (tile.top > 0 and entry.top < tile.top + BORDER)
        or (tile.left > 0 and entry.left < tile.left + BORDER)
        or (tile.bottom < height and entry.bottom > tile.bottom - BORDER)
        or (tile.right < width and entry.right > tile.right - BORDER)
    )


class _Nearby:
    """Objects by place, so that only those nearby are compared."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], list[tuple[int, Detection]]] = defaultdict(list)
        self._entries: list[Detection] = []

    def add(self, tile: int, entry: Detection) -> None:
        self._entries.append(entry)
        for cell in _cells(entry):
            self._cells[cell].append((tile, entry))

    def entries(self) -> list[Detection]:
        return self._entries

    def has_same(self, tile: int, entry: Detection) -> bool:
        """Whether an object of another tile is the same one."""
        return any(
            other_tile != tile and _is_same(entry, other)
            for cell in _cells(entry)
            for other_tile, other in self._cells.get(cell, ())
        )


def _cells(entry: Detection) -> Iterator[tuple[int, int]]:
    for row in range(entry.top // _CELL, (entry.bottom - 1) // _CELL + 1):
        for column in range(entry.left // _CELL, (entry.right - 1) // _CELL + 1):
            yield row, column


def _keep_new(entries: Sequence[tuple[int, Detection]], nearby: _Nearby) -> None:
    for tile, entry in sorted(entries, key=lambda pair: _rank(pair[1])):
        if not nearby.has_same(tile, entry):
            nearby.add(tile, entry)


def _is_same(first: Detection, second: Detection) -> bool:
    if first.category != second.category:
        return False
    shared = _shared_pixels(first, second)
    return shared > SAME * min(first.area, second.area)


def _shared_pixels(first: Detection, second: Detection) -> int:
    top, left = max(first.top, second.top), max(first.left, second.left)
    bottom, right = min(first.bottom, second.bottom), min(first.right, second.right)
    if bottom <= top or right <= left:
        return 0
    views = (_view(entry, Tile(top, left, bottom, right)) for entry in (first, second))
    return int(np.count_nonzero(next(views) & next(views)))


def _view(entry: Detection, tile: Tile) -> np.ndarray:
    """Its pixels in a rectangle inside its own."""
    rows = slice(tile.top - entry.top, tile.bottom - entry.top)
    return entry.pixels[rows, tile.left - entry.left : tile.right - entry.left]


def _joined(
    parts: Sequence[tuple[int, Detection]], tiles: Sequence[Tile]
) -> list[tuple[int, Detection]]:
    """Parts that tiles agree on, joined. A joined object belongs to no tile, -1."""
    pending = sorted(parts, key=lambda pair: _rank(pair[1]))
    done: list[tuple[int, Detection]] = []
    while pending:
        tile, whole = pending.pop(0)
        members = {tile}
        grown = True
        while grown:
            grown = False
            for position, (other_tile, other) in enumerate(pending):
                areas = [_common(tiles[member], tiles[other_tile]) for member in members]
                if other_tile not in members and any(_agree(whole, other, a) for a in areas):
                    whole = _union(whole, other)
                    members.add(other_tile)
                    pending.pop(position)
                    grown = True
                    break
        done.append((tile if len(members) == 1 else -1, whole))
    return done


def _common(first: Tile, second: Tile) -> Tile:
    return Tile(
        max(first.top, second.top),
        max(first.left, second.left),
        min(first.bottom, second.bottom),
        min(first.right, second.right),
    )


def _agree(first: Detection, second: Detection, area: Tile) -> bool:
    """Whether two objects are the same where both tiles looked."""
    if first.category != second.category:
        return False
    shared = _shared_pixels(first, second)
    smaller = min(_pixels_in(first, area), _pixels_in(second, area))
    return shared > SAME * smaller > 0


def _pixels_in(entry: Detection, area: Tile) -> int:
    place = _common(area, Tile(entry.top, entry.left, entry.bottom, entry.right))
    if place.bottom <= place.top or place.right <= place.left:
        return 0
    return int(np.count_nonzero(_view(entry, place)))


def _union(first: Detection, second: Detection) -> Detection:
    top, left = min(first.top, second.top), min(first.left, second.left)
    bottom, right = max(first.bottom, second.bottom), max(first.right, second.right)
    pixels = np.zeros((bottom - top, right - left), dtype=bool)
    for entry in (first, second):
        rows, columns = slice(entry.top - top, None), slice(entry.left - left, None)
        height, width = entry.pixels.shape
        pixels[rows, columns][:height, :width] |= entry.pixels
    low = np.minimum(first.box, second.box)[:2]
    high = np.maximum(first.box, second.box)[2:]
    return replace(
        first,
        box=tuple(float(value) for value in (*low, *high)),
        score=max(first.score, second.score),
        pixels=pixels,
        top=top,
        left=left,
    )
