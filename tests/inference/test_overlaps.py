import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maskrcnnpp.inference.overlaps import KEPT, resolve_overlaps
from maskrcnnpp.inference.tiling import Detection

SIZE = 300  # several cells of the index


def detection(top, left, height, width, score=0.5, category=0):
    pixels = np.ones((height, width), bool)
    return Detection((left, top, left + width, top + height), score, category, pixels, top, left)


def drawn(entry):
    image = np.zeros((SIZE, SIZE), bool)
    image[entry.top : entry.bottom, entry.left : entry.right] = entry.pixels
    return image


boxes = st.tuples(
    st.integers(100, 160), st.integers(100, 160), st.integers(1, 40), st.integers(1, 40)
)


@given(st.lists(boxes, max_size=12))
def test_no_pixel_is_of_two_objects_and_none_is_invented(places):
    objects = [detection(*place, score=1 - k / 100) for k, place in enumerate(places)]
    kept = resolve_overlaps(objects)
    assert sum(drawn(entry).astype(int) for entry in kept).max(initial=0) <= 1 if kept else True
    before = {entry.score: entry for entry in objects}
    assert [entry.score for entry in kept] == sorted((e.score for e in kept), reverse=True)
    for entry in kept:
        original = before[entry.score]
        assert not (drawn(entry) & ~drawn(original)).any()
        assert entry.area >= KEPT * original.area
        if entry.area < original.area:
            assert entry.box == (entry.left, entry.top, entry.right, entry.bottom)
        else:
            assert entry.box == original.box


def test_objects_apart_stay_as_they_are():
    objects = [detection(0, 0, 5, 5), detection(0, 5, 5, 5), detection(200, 200, 9, 9)]
    assert resolve_overlaps(objects) == objects


def test_what_mostly_lies_under_another_is_dropped_and_takes_nothing():
    top, hidden, below = detection(0, 0, 10, 10), detection(0, 2, 10, 10), detection(0, 11, 10, 4)
    kept = resolve_overlaps([top, hidden, below])
    assert kept == [top, below]  # the hidden one has column 11, which the last keeps


def test_one_that_is_cut_in_two_keeps_its_largest_part():
    bar, across = detection(0, 4, 10, 2), detection(2, 0, 4, 16)
    first, second = resolve_overlaps([bar, across])
    assert first is bar
    assert (second.top, second.left, second.bottom, second.right) == (2, 6, 6, 16)
    assert second.area == 40


def test_one_whose_parts_are_all_small_is_dropped():
    bars = [detection(0, 10 * k, 10, 4) for k in range(1, 5)]
    assert resolve_overlaps([*bars, detection(2, 0, 4, 60)]) == bars
