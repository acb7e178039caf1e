"""Labels of neighbouring planes that are one object."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.masks.stitch import Stitcher, stitch_planes

STACKS = arrays(np.uint16, st.tuples(st.integers(1, 4), st.just(5), st.just(6)),
                elements=st.sampled_from([0, 0, 1, 2, 3, 70]))  # fmt: skip


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def labels_of(plane):
    return [int(label) for label in np.unique(plane) if label]


@given(STACKS, st.sampled_from([0.01, 0.2, 0.3, 0.5, 1.0]))
def test_pairs_are_one_to_one_and_by_largest_overlap(stack, threshold):
    planes = list(stitch_planes(iter(stack), threshold))
    for before, after in zip(stack, planes):  # objects stay as they are
        pairs = set(zip(before.ravel().tolist(), after.ravel().tolist()))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert all((a == 0) == (b == 0) for a, b in pairs)
    for one, other in zip(planes, planes[1:]):
        overlaps = {
            (a, b): iou(one == a, other == b) for a in labels_of(one) for b in labels_of(other)
        }
        same = {
            label: overlaps[label, label] for label in labels_of(one) if (label, label) in overlaps
        }
        assert all(value >= threshold for value in same.values())
        for (a, b), value in overlaps.items():  # of two that could be one, one has a better partner
            if a != b and value >= threshold:
                assert max(same.get(a, 0), same.get(b, 0)) >= value
    for label in set().union(*map(labels_of, planes)):  # a number does not come again
        (where,) = np.nonzero([label in plane for plane in planes])
        assert len(where) == where[-1] - where[0] + 1
    numbers = sorted(set().union(*map(labels_of, planes)))
    assert numbers == list(range(1, len(numbers) + 1))


def test_only_one_plane_is_asked_for_at_a_time():
    asked = []

    def planes():
        for number in range(3):
            asked.append(number)
            yield np.eye(4, dtype=np.int64)

    for number, plane in enumerate(stitch_planes(planes(), 0.5)):
        assert asked == list(range(number + 1)) and (plane == np.eye(4)).all()


def test_classes_are_not_mixed_and_a_restart_begins_anew():
    labels = np.array([[1, 1, 2, 2]])
    stitcher = Stitcher(0.5)
    assert stitcher.numbers(labels, 2, np.array([0, 1])).tolist() == [1, 2]
    assert stitcher.numbers(labels, 2, np.array([0, 0])).tolist() == [1, 3]
    stitcher.restart()
    assert stitcher.numbers(labels, 3, np.array([0, 0, 0])).tolist() == [4, 5, 6]
    assert stitcher.numbers(np.zeros_like(labels), 0).tolist() == []


def test_what_cannot_be_stitched():
    for threshold in (0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="above 0 and up to 1, such as 0.3"):
            Stitcher(threshold)
    sizes = [np.ones((4, 5), np.uint8), np.ones((4, 6), np.uint8)]
    with pytest.raises(DataError, match="a plane of 6x4 pixels follows one of 5x4"):
        list(stitch_planes(sizes, 0.3))
    for bad in (np.ones((4, 5)), np.ones((2, 4, 5), np.uint8), -np.ones((4, 5), np.int64)):
        with pytest.raises(DataError, match="is not a label image"):
            list(stitch_planes([bad], 0.3))
