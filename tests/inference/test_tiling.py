"""Tiles of an image, and the objects of its tiles as those of the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from maskrcnnpp.inference import tiling
from maskrcnnpp.inference.tiling import Detection, merge_tiles, tile_image


@pytest.mark.slow
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 80), st.integers(0, 40))
def test_tiles_cover_the_image_and_share_the_overlap(height, width, size, overlap):
    overlap = min(overlap, size // 2)
    tiles = tile_image(height, width, size, overlap)
    covered = np.zeros((height, width), dtype=int)
    for tile in tiles:
        assert 0 <= tile.top < tile.bottom <= height and tile.bottom - tile.top <= size
        assert 0 <= tile.left < tile.right <= width and tile.right - tile.left <= size
        covered[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert covered.min() >= 1
    for start, end in (("top", "bottom"), ("left", "right")):
        spans = sorted({(getattr(tile, start), getattr(tile, end)) for tile in tiles})
        for (_, before), (after, _) in zip(spans, spans[1:]):
            assert before - after >= overlap


def test_an_image_that_fits_is_one_tile():
    (tile,) = tile_image(30, 64, 64, 16)
    assert (tile.top, tile.left, tile.bottom, tile.right) == (0, 0, 30, 64)


@pytest.mark.parametrize(("size", "overlap"), [(10, 6), (10, -1), (0, 0)])
def test_an_overlap_that_leaves_no_tile(size, overlap):
    with pytest.raises(ValueError, match="overlap"):
        tile_image(20, 20, size, overlap)


def discs(height, width, radius, count, seed):
    """A label image of discs that do not touch."""
    generator = np.random.default_rng(seed)
    labels = np.zeros((height, width), dtype=int)
    y, x = np.mgrid[:height, :width]
    for number in range(1, count + 1):
        r = generator.uniform(1, radius)
        cy, cx = generator.uniform(0, height), generator.uniform(0, width)
        near = (y - cy) ** 2 + (x - cx) ** 2 <= (r + 2) ** 2
        if not labels[near].any():
            labels[(y - cy) ** 2 + (x - cx) ** 2 <= r**2] = number
    return labels


def seen_in(labels, tile, score=None):
    """What a faultless detector finds in a tile: each object as far as the tile shows it."""
    found = []
    part = labels[tile.top : tile.bottom, tile.left : tile.right]
    for number, place in enumerate(ndimage.find_objects(part), start=1):
        if place is None:
            continue
        rows, columns = place
        top, left = tile.top + rows.start, tile.left + columns.start
        bottom, right = tile.top + rows.stop, tile.left + columns.stop
        pixels = part[place] == number
        mark = score(number) if score else 0.5 + number / 1000
        found.append(Detection((left, top, right, bottom), mark, 0, pixels, top, left))
    return found


def painted(detections, shape):
    """How often each pixel is object, and a label image."""
    times, labels = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    for number, entry in enumerate(detections, start=1):
        window = (slice(entry.top, entry.bottom), slice(entry.left, entry.right))
        times[window] += entry.pixels
        labels[window][entry.pixels] = number
    return times, labels


def same_partition(found, truth):
    pairs = {(int(a), int(b)) for a, b in zip(found.ravel(), truth.ravel())}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@given(st.integers(0, 10**6), st.sampled_from([4, 8, 12, 30]), st.booleans())
def test_what_tiles_see_is_what_the_image_has(seed, radius, noisy):
    """Objects up to the overlap are whole in a tile; larger ones are joined from their parts."""
    generator = np.random.default_rng(seed)
    height, width = generator.integers(40, 130, 2)
    truth = discs(height, width, radius, 40, seed)
    tiles = tile_image(height, width, 48, 24)
    # scores that differ by tile decide which of two stays, and must not matter
    score = (lambda _: float(generator.uniform(0.5, 1))) if noisy else None
    found = [seen_in(truth, tile, score) for tile in tiles]
    merged = merge_tiles(tiles, found, height, width)
    times, labels = painted(merged, truth.shape)
    assert times.max(initial=0) <= 1  # none doubled
    assert same_partition(labels, truth)  # none cut, none lost
    assert [e.score for e in merged] == sorted((e.score for e in merged), reverse=True)


@given(st.integers(0, 10**6))
def test_the_order_of_the_tiles_does_not_matter(seed):
    generator = np.random.default_rng(seed)
    truth = discs(100, 90, 20, 40, seed)
    tiles = tile_image(100, 90, 48, 16)
    found = [seen_in(truth, t, lambda _: float(generator.uniform(0.5, 1))) for t in tiles]
    order = generator.permutation(len(tiles))

    def places(entries):
        return [(e.top, e.left, e.score, e.pixels.tobytes()) for e in entries]

    shuffled = merge_tiles([tiles[i] for i in order], [found[i] for i in order], 100, 90)
    assert places(shuffled) == places(merge_tiles(tiles, found, 100, 90))


def square(top, left, side, score=0.9, category=0):
    box = (left, top, left + side, top + side)
    return Detection(box, score, category, np.ones((side, side), dtype=bool), top, left)


TILES = tile_image(64, 112, 64, 16)  # columns 0..64 and 48..112


def test_the_higher_score_stays_of_what_two_tiles_saw():
    first, second = square(20, 50, 10, 0.6), square(21, 51, 10, 0.8)
    assert merge_tiles(TILES, [[first], [second]], 64, 112) == [second]


def test_a_cut_object_gives_way_to_a_whole_one_of_lower_score():
    cut, whole = square(20, 54, 10, 0.95), square(20, 53, 14, 0.4)
    assert merge_tiles(TILES, [[cut], [whole]], 64, 112) == [whole]


def test_objects_of_one_tile_are_left_as_the_model_gives_them():
    first, second = square(20, 50, 10), square(20, 51, 10, 0.8)
    assert merge_tiles(TILES, [[first, second], []], 64, 112) == [first, second]


def test_objects_of_two_categories_are_two():
    both = [square(20, 52, 8), square(20, 52, 8, 0.8, category=1)]
    assert merge_tiles(TILES, [[both[0]], [both[1]]], 64, 112) == both


def test_what_one_tile_alone_saw_stays():
    cut = square(20, 54, 10)  # reaches the side of its tile, and the other tile found nothing
    assert merge_tiles(TILES, [[cut], []], 64, 112) == [cut]
    assert merge_tiles(TILES, [[], []], 64, 112) == []


def seen_of(objects, tile):
    """Each of overlapping objects as far as a tile shows it."""
    found = []
    for number, (y, x, radius) in enumerate(objects):
        rows, columns = np.mgrid[tile.top : tile.bottom, tile.left : tile.right]
        pixels = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        ys, xs = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
        if len(ys) == 0:
            continue
        tight = pixels[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        top, left = int(tile.top + ys[0]), int(tile.left + xs[0])
        box = (left, top, left + tight.shape[1], top + tight.shape[0])
        found.append(Detection(box, 0.9 - number / 1000, 0, tight, top, left))
    return found


@given(
    st.lists(st.tuples(st.integers(10, 110), st.integers(10, 120)), min_size=1, max_size=6),
    st.integers(8, 20),
    st.booleans(),
)
def test_an_object_inside_another_takes_nothing_from_it(centres, radius, small_first):
    """Also where the large one is seen whole by no tile. Centres are far apart, or left out."""
    objects = []
    for y, x in centres:
        if all((y - v) ** 2 + (x - u) ** 2 > (2 * radius + 2) ** 2 for v, u, _ in objects):
            pair = [(y, x, radius), (y, x, 3)]
            objects += reversed(pair) if small_first else pair
    image = tile_image(130, 140, 140, 0)[0]
    tiles = tile_image(130, 140, 48, 24)
    merged = merge_tiles(tiles, [seen_of(objects, tile) for tile in tiles], 130, 140)

    def places(entries):
        return sorted((e.top, e.left, e.pixels.tobytes()) for e in entries)

    assert places(merged) == places(seen_of(objects, image))


def test_a_part_of_a_large_object_is_not_kept_beside_the_whole():
    tiles = tile_image(64, 448, 256, 64)  # columns 0..256 and 192..448
    small, whole = square(20, 240, 8, 0.97), square(2, 230, 60, 0.90)
    cut = Detection((230, 2, 256, 62), 0.85, 0, np.ones((60, 26), dtype=bool), 2, 230)
    found = [[small, cut], [square(20, 240, 8, 0.95), whole]]
    assert merge_tiles(tiles, found, 64, 448) == found[1]
    assert merge_tiles(tiles, [[small], found[1]], 64, 448) == found[1]


def test_what_is_seen_better_by_another_tile_is_that_tiles_to_tell():
    tiles = tile_image(64, 448, 256, 64)  # columns 0..256 and 192..448
    sliver, middle = square(20, 250, 6, 0.99), square(40, 220, 8, 0.6)
    assert merge_tiles(tiles, [[sliver], []], 64, 448) == []
    # as far inside of both: one of them suffices
    assert merge_tiles(tiles, [[middle], []], 64, 448) == [middle]
    assert merge_tiles(tiles, [[], [middle]], 64, 448) == [middle]
    # as large as the overlap: cut, for all that the other tile knows
    large = Detection((192, 2, 256, 62), 0.8, 0, np.ones((60, 64), dtype=bool), 2, 192)
    assert merge_tiles(tiles, [[large], []], 64, 448) == [large]


def test_what_two_tiles_leave_to_each_other_is_heard():
    """They split what they see differently: each lies further inside of the other's tile."""
    tiles = tile_image(64, 448, 256, 64)
    blob = Detection((209, 20, 249, 40), 0.8, 0, np.ones((20, 40), dtype=bool), 20, 209)
    left, right = square(20, 208, 20, 0.9), square(20, 228, 20, 0.7)
    assert merge_tiles(tiles, [[blob], [left, right]], 64, 448) == [left, right]
    # neither tile sees what the other does, though it would see it better
    ours, theirs = square(20, 215, 28, 0.8), square(20, 200, 20, 0.9)
    assert merge_tiles(tiles, [[ours], [theirs]], 64, 448) == []


def test_one_for_two_is_a_disagreement_of_which_the_higher_score_stays():
    halves = [square(20, 50, 6, 0.8), square(20, 56, 6, 0.7)]
    both = Detection((50, 20, 62, 26), 0.9, 0, np.ones((6, 12), dtype=bool), 20, 50)
    assert merge_tiles(TILES, [halves, [both]], 64, 112) == [both]
    both = Detection((50, 20, 62, 26), 0.6, 0, np.ones((6, 12), dtype=bool), 20, 50)
    assert merge_tiles(TILES, [halves, [both]], 64, 112) == halves


def test_many_parts_do_not_take_long():
    """One comparison for each pair that is near, not for each pair."""
    tiles = tile_image(64, 64 * 400, 64, 0)
    parts = [[square(8 * k, 64 * column, 6) for k in range(7)] for column in range(1, 400)]
    compared = []
    original = tiling._agree

    def counted(*args):
        compared.append(1)
        return original(*args)

    tiling._agree = counted
    try:
        merged = merge_tiles(tiles, [[], *parts], 64, 64 * 400)
    finally:
        tiling._agree = original
    assert len(merged) == 7 * 399 and len(compared) < 20 * len(merged)
