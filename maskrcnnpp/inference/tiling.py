"""An image as overlapping tiles, and the objects of its tiles as those of the image."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

#: Pixels from a tile's side, and part of an object's extent, within which it may have been cut: a
#: mask is no finer than a part of its box.
BORDER, BORDER_PART = 2, 0.05
#: Part of an object from which others, of other tiles, make it one that was found before.
COVERED = 0.5
#: Intersection over union, where two tiles looked, from which parts are of one object.
AGREE = 0.5
#: Pixels by which another tile has to see an object further inside, to be the one to tell.
DEEPER = 8
_STEP = 32  # pixels, to which models fill up what they are given
_CELL = 128  # pixels; of the index that finds objects nearby


@dataclass(frozen=True)
class Tile:
    """A rectangle of the image, in pixels."""

    top: int
    left: int
    bottom: int
    right: int


class Detection:
    """An object of an image. Places are pixels of the whole image. Not to be changed."""

    # a slide has 100,000 of them: eight pixels a byte, and nothing that grows
    __slots__ = ("_bits", "_shape", "area", "box", "category", "left", "score", "top")

    def __init__(
        self,
        box: tuple[float, float, float, float],
        score: float,
        category: int,
        pixels: np.ndarray,
        top: int,
        left: int,
    ) -> None:
        """
        Args:
            box: x0, y0, x1, y1.
            score: 0..1.
            category: the model's, 0..n-1.
            pixels: bool (h, w), with an object pixel in its first and last row and column.
            top, left: of ``pixels``.
        """
        self.box, self.score, self.category = box, score, category
        self.top, self.left = top, left
        self.area = int(np.count_nonzero(pixels))  #: pixels
        self._bits, self._shape = np.packbits(pixels).tobytes(), pixels.shape

    @property
    def pixels(self) -> np.ndarray:
        """Bool (h, w), made anew by every call."""
        height, width = self._shape
        bits = np.unpackbits(np.frombuffer(self._bits, np.uint8), count=height * width)
        return bits.view(bool).reshape(height, width)

    @property
    def bottom(self) -> int:
        return self.top + self._shape[0]

    @property
    def right(self) -> int:
        return self.left + self._shape[1]

    def within(self, tile: Tile) -> tuple[Tile, np.ndarray] | None:
        """The place of its window inside ``tile``, in the image, and its pixels there, if any."""
        place = _common(_place(self), tile)
        return (place, view(self.pixels, self, place)) if place else None


def tile_image(height: int, width: int, size: int, overlap: int) -> list[Tile]:
    """Tiles of at most ``size`` pixels a side that cover the image, row by row.

    Neighbours share at least ``overlap`` pixels, so that an object of up to that size is whole in
    one of them. An image of up to ``size`` is one tile; of a larger one tiles are as small as their
    number allows, in steps of 32 pixels, so that time grows with the image.

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
    needed = math.ceil((length + (count - 1) * overlap) / count)
    size = min(size, math.ceil(needed / _STEP) * _STEP)
    starts = [round(k * (length - size) / (count - 1)) for k in range(count)]
    return [(start, start + size) for start in starts]


def merge_tiles(
    tiles: Sequence[Tile],
    found: Sequence[Sequence[Detection]],
    height: int,
    width: int,
) -> list[Detection]:
    """Each object of the image once: none doubled, cut or lost where tiles meet.

    - What another tile sees as a whole and clearly further from its sides is that tile's to tell:
      it knows more of the surroundings. Where each of two leaves an object to the other, because
      their middles of it differ, both are heard.
    - Objects are taken by falling score, whole ones before those that a tile's side may have cut.
      One that is mostly covered by objects of other tiles that were taken before is the same or,
      where tiles disagree, a worse account of the place. A small object does not cover a large one
      that it lies in.
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
    deferred: list[tuple[int, Detection]] = []
    for index, objects in enumerate(found):
        for entry in objects:
            if not seam.is_shared(entry):
                kept.append(entry)
            elif seam.is_better_seen(entry, tiles[index], height, width):
                deferred.append((index, entry))
            elif _is_cut(entry, tiles[index], height, width):
                parts.append((index, entry))
            else:
                whole.append((index, entry))
    nearby = _Nearby()
    _keep_new(whole, nearby)
    left = [(tile, entry) for tile, entry in parts if not nearby.covers(tile, entry)]
    _keep_new(_joined(left, tiles), nearby)
    _keep_new(_left_to_each_other(deferred), nearby)
    return sorted([*kept, *nearby.entries], key=_rank)


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

    def is_better_seen(self, entry: Detection, tile: Tile, height: int, width: int) -> bool:
        """Whether another tile sees it whole, and further inside by more than :data:`DEEPER`."""
        depth = _depth(entry, tile, height, width) + DEEPER
        rows = [s for s in self._rows if s[0] <= entry.top and entry.bottom <= s[1]]
        columns = [s for s in self._columns if s[0] <= entry.left and entry.right <= s[1]]
        others = (Tile(top, left, bottom, right) for top, bottom in rows for left, right in columns)
        return any(
            not _is_cut(entry, other, height, width) and _depth(entry, other, height, width) > depth
            for other in others
        )


def _depth(entry: Detection, tile: Tile, height: int, width: int) -> float:
    """Pixels from its middle to the nearest side of the tile behind which the image goes on."""
    y, x = (entry.top + entry.bottom) / 2, (entry.left + entry.right) / 2
    return min(
        y - tile.top if tile.top > 0 else math.inf,
        x - tile.left if tile.left > 0 else math.inf,
        tile.bottom - y if tile.bottom < height else math.inf,
        tile.right - x if tile.right < width else math.inf,
    )


def _is_cut(entry: Detection, tile: Tile, height: int, width: int) -> bool:
    """Whether it reaches a side of its tile behind which the image goes on."""
    rows = max(BORDER, BORDER_PART * (entry.bottom - entry.top))
    columns = max(BORDER, BORDER_PART * (entry.right - entry.left))
    return (
        (tile.top > 0 and entry.top < tile.top + rows)
        or (tile.left > 0 and entry.left < tile.left + columns)
        or (tile.bottom < height and entry.bottom > tile.bottom - rows)
        or (tile.right < width and entry.right > tile.right - columns)
    )


class _Nearby:
    """Objects and their tiles by place, so that only those nearby are compared."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._tiles: list[int] = []
        self.entries: list[Detection] = []

    def add(self, tile: int, entry: Detection) -> None:
        for cell in cells(entry):
            self._cells[cell].append(len(self.entries))
        self._tiles.append(tile)
        self.entries.append(entry)

    def of_other_tiles(self, tile: int, entry: Detection) -> list[int]:
        """Indices of what was added and shares a cell with it, in that order."""
        found = {index for cell in cells(entry) for index in self._cells.get(cell, ())}
        return sorted(index for index in found if self._tiles[index] != tile)

    def covers(self, tile: int, entry: Detection) -> bool:
        """Whether objects of other tiles cover most of it."""
        pixels = entry.pixels
        covered = np.zeros_like(pixels)
        for index in self.of_other_tiles(tile, entry):
            other = self.entries[index]
            if other.category == entry.category and (place := shared_place(entry, other)):
                view(covered, entry, place)[...] |= view(other.pixels, other, place)
        return int(np.count_nonzero(covered & pixels)) > COVERED * entry.area


def cells(entry: Detection) -> Iterator[tuple[int, int]]:
    """Squares of the image that its window reaches into, for an index of what is nearby."""
    for row in range(entry.top // _CELL, (entry.bottom - 1) // _CELL + 1):
        for column in range(entry.left // _CELL, (entry.right - 1) // _CELL + 1):
            yield row, column


def _left_to_each_other(deferred: Sequence[tuple[int, Detection]]) -> list[tuple[int, Detection]]:
    """Deferred objects that those of other tiles mostly cover: each tile left them to another."""
    nearby = _Nearby()
    for tile, entry in deferred:
        nearby.add(tile, entry)
    return [(tile, entry) for tile, entry in deferred if nearby.covers(tile, entry)]


def _keep_new(entries: Sequence[tuple[int, Detection]], nearby: _Nearby) -> None:
    for tile, entry in sorted(entries, key=lambda pair: _rank(pair[1])):
        if not nearby.covers(tile, entry):
            nearby.add(tile, entry)


def _place(entry: Detection) -> Tile:
    return Tile(entry.top, entry.left, entry.bottom, entry.right)


def view(pixels: np.ndarray, entry: Detection, place: Tile) -> np.ndarray:
    """The part in ``place``, which lies inside it, of an array as large as the object's window."""
    rows = slice(place.top - entry.top, place.bottom - entry.top)
    return pixels[rows, place.left - entry.left : place.right - entry.left]


def shared_place(first: Detection, second: Detection) -> Tile | None:
    """Where the windows of two objects overlap."""
    return _common(_place(first), _place(second))


def _joined(
    parts: Sequence[tuple[int, Detection]], tiles: Sequence[Tile]
) -> list[tuple[int, Detection]]:
    """Parts that tiles agree on, joined. A joined object belongs to no tile, -1."""
    parts = sorted(parts, key=lambda pair: _rank(pair[1]))
    nearby = _Nearby()
    groups: list[list[int]] = []  # of each part: the parts that are joined with it, shared
    for number, (tile, entry) in enumerate(parts):
        groups.append([number])
        for index in nearby.of_other_tiles(tile, entry):
            first, second = groups[index], groups[number]
            seen_by = [{parts[k][0] for k in group} for group in (first, second)]
            if first is second or seen_by[0] & seen_by[1]:
                continue
            if _agree(parts[index], parts[number], tiles):
                first += second
                for member in second:
                    groups[member] = first
        nearby.add(tile, entry)
    joined = []
    for number, group in enumerate(groups):
        if group[0] != number:
            continue  # reported once, by its first part
        whole = parts[number][1]
        for member in group[1:]:
            whole = _union(whole, parts[member][1])
        joined.append((parts[number][0] if len(group) == 1 else -1, whole))
    return joined


def _agree(
    first: tuple[int, Detection], second: tuple[int, Detection], tiles: Sequence[Tile]
) -> bool:
    """Whether two parts are of one object, by what both of their tiles see."""
    (first_tile, one), (second_tile, other) = first, second
    place = shared_place(one, other)
    if one.category != other.category or place is None:
        return False
    ours, theirs = (view(entry.pixels, entry, place) for entry in (one, other))
    shared = np.count_nonzero(ours & theirs)
    if shared == 0:
        return False
    area = _common(tiles[first_tile], tiles[second_tile])
    return shared > AGREE * (_pixels_in(one, area) + _pixels_in(other, area) - shared)


def _pixels_in(entry: Detection, area: Tile | None) -> int:
    place = area and _common(area, _place(entry))
    return int(np.count_nonzero(view(entry.pixels, entry, place))) if place else 0


def _common(first: Tile, second: Tile) -> Tile | None:
    """Where two rectangles overlap, if they do."""
    top, left = max(first.top, second.top), max(first.left, second.left)
    bottom, right = min(first.bottom, second.bottom), min(first.right, second.right)
    return Tile(top, left, bottom, right) if top < bottom and left < right else None


def _union(first: Detection, second: Detection) -> Detection:
    top, left = min(first.top, second.top), min(first.left, second.left)
    bottom, right = max(first.bottom, second.bottom), max(first.right, second.right)
    pixels = np.zeros((bottom - top, right - left), dtype=bool)
    for entry in (first, second):
        part = entry.pixels
        rows, columns = slice(entry.top - top, None), slice(entry.left - left, None)
        pixels[rows, columns][: part.shape[0], : part.shape[1]] |= part
    x0, y0 = np.minimum(first.box, second.box)[:2]
    x1, y1 = np.maximum(first.box, second.box)[2:]
    box = (float(x0), float(y0), float(x1), float(y1))
    return Detection(box, max(first.score, second.score), first.category, pixels, top, left)
