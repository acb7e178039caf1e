"""COCO's segmentations are checked, and read as pycocotools reads them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.parse import checked_rle
from maskrcnnpp.masks.rle import rle_of_edges, runs_of_object

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
MASKS = hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 1)).filter(np.any)


def encoded(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()


def counts_of(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, the slow way."""
    counts, value = [0], 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


@given(MASKS, st.data())
def test_every_kind_of_rle_is_the_mask(mask, data):
    encoded = coco_mask.encode(np.asfortranarray(mask))
    size, counts = list(mask.shape), counts_of(mask)
    for _ in range(data.draw(st.integers(0, 3))):  # runs of no length change nothing
        place = data.draw(st.integers(0, len(counts)))
        counts[place:place] = [0, 0]
    text = encoded["counts"].decode()
    for given_counts in (text, encoded["counts"], counts):
        rle = checked_rle({"size": size, "counts": given_counts}, *size)
        assert rle == {"size": size, "counts": text}


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 70_000)), min_size=1, max_size=6),
    st.integers(0, 70_000),
)
def test_long_runs(runs, rest):
    """Lengths of several characters in the compressed string, rising and falling."""
    counts = [length for pair in runs for length in pair] + [rest]
    total = sum(counts)
    packed = coco_mask.frPyObjects({"size": [total, 1], "counts": counts}, total, 1)
    text = packed["counts"].decode()
    rle = checked_rle({"size": [total, 1], "counts": text}, total, 1)
    np.testing.assert_array_equal(coco_mask.decode(rle), coco_mask.decode(packed))
    assert runs_of_object(rle)[1].sum() == sum(length for _, length in runs)


@given(MASKS)
def test_crop_is_the_tight_box(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    crop = Crop.of_rle({"size": list(mask.shape), "counts": rle["counts"].decode()})
    rows, columns = np.nonzero(mask)
    assert (crop.top, crop.left) == (rows.min(), columns.min())
    assert crop.pixels.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1)
    full = np.zeros_like(mask)
    crop.of(full)[...] = crop.pixels
    np.testing.assert_array_equal(full, mask)


COORDINATES = st.one_of(
    st.integers(-4, 24).map(float), st.integers(-40, 240).map(lambda tenths: tenths / 10)
)


@given(
    st.lists(
        st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=7),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_are_the_union_of_those_of_pycocotools(rings):
    """Crossing themselves and reaching out of the image included."""
    flat = [[float(value) for point in ring for value in point] for ring in rings]
    each = [coco_mask.decode(coco_mask.frPyObjects([ring], 20, 18)[0]) for ring in flat]
    expected = np.any(each, axis=0)
    if not expected.any():
        with pytest.raises(DataError, match="no pixel inside the image"):
            checked_rle(flat, 20, 18)
        return
    np.testing.assert_array_equal(coco_mask.decode(checked_rle(flat, 20, 18)), expected)


def test_the_corners_of_a_polygon_are_corners_of_pixels():
    rle = checked_rle([[2, 1, 6, 1, 6, 4, 2, 4]], 12, 16)
    expected = np.zeros((12, 16), np.uint8)
    expected[1:4, 2:6] = 1
    np.testing.assert_array_equal(coco_mask.decode(rle), expected)


SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]
BAD = {
    "none": (None, "no segmentation"),
    "a number": (7, "no segmentation"),
    "a text": ("02203", "no segmentation"),
    "no polygon": ([], "empty segmentation"),
    "a flat list": (SQUARE, "no list of numbers"),
    "odd number": ([SQUARE + [3]], "odd number of coordinates, 9"),
    "two points": ([[1, 1, 5, 5]], "polygon: 2 points"),
    "no points": ([SQUARE, []], "polygon: 0 points"),
    "nan": ([[math.nan, *SQUARE[1:]]], "not a finite number"),
    "infinite": ([[*SQUARE[:-1], math.inf]], "not a finite number"),
    "a text in a polygon": ([["2", *SQUARE[1:]]], "no list of numbers"),
    "null in a polygon": ([[None, *SQUARE[1:]]], "no list of numbers"),
    "truth values": ([[True, False] * 3], "no list of numbers"),
    "points as pairs": ([[[2, 1], [6, 1], [6, 4]]], "no list of numbers"),
    "pairs of two lengths": ([[[2, 1], [6], [6, 4]]], "no list of numbers"),
    "a text for a polygon": (["222222"], "no list of numbers"),
    "a number too large to be one": ([[10**400, *SQUARE[1:]]], "not a finite number"),
    "outside": ([[20, 1, 26, 1, 26, 4]], "no pixel inside the image"),
    "far outside": ([[0, 0, 1e9, 0, 0, 1e9]], "far out of the image"),
    "far outside on the left": ([[0, 0, -17, 0, 0, 5]], "far out of the image"),
    "a line": ([[2, 1, 6, 1, 2, 1]], "no pixel"),
    "no size": ({"counts": [0, 192]}, "without"),
    "a size of one": ({"size": [12], "counts": [0, 192]}, "without"),
    "no counts": ({"size": [12, 16]}, "without"),
    "another size": (
        {"size": [16, 12], "counts": [0, 192]}, "RLE of 12x16 pixels for an image of 16x12",
    ),
    "too short": ({"size": [12, 16], "counts": [0, 191]}, "do not add up to 16x12"),
    "too long": ({"size": [12, 16], "counts": [100, 93]}, "do not add up"),
    "negative": ({"size": [12, 16], "counts": [-8, 200]}, "no whole numbers"),
    "negative, adding up": ({"size": [12, 16], "counts": [-8, 150, 50]}, "no whole numbers"),
    "overflowing": ({"size": [12, 16], "counts": [2**62] * 4 + [192]}, "no whole numbers"),
    "too large": ({"size": [12, 16], "counts": [2**63, 2**63]}, "no whole numbers"),
    "huge": ({"size": [12, 16], "counts": [10**30, 192]}, "no whole numbers"),
    "fractions": ({"size": [12, 16], "counts": [0.5, 191.5]}, "no whole numbers"),
    "texts": ({"size": [12, 16], "counts": ["0", "192"]}, "no whole numbers"),
    "nested": ({"size": [12, 16], "counts": [[0], [1, 2]]}, "no whole numbers"),
    "no runs": ({"size": [12, 16], "counts": []}, "without a run"),
    "empty mask": ({"size": [12, 16], "counts": [192]}, "has no pixel"),
    "empty mask by runs of 0": ({"size": [12, 16], "counts": [100, 0, 92]}, "has no pixel"),
    "compressed too short": ({"size": [12, 16], "counts": "T1"}, "do not add up"),
    "compressed without runs": ({"size": [12, 16], "counts": ""}, "without a run"),
    "compressed, cut short": ({"size": [12, 16], "counts": "6i"}, "damaged"),
    "compressed, endless number": ({"size": [12, 16], "counts": "o" * 40 + "0"}, "damaged"),
    "compressed, other characters": ({"size": [12, 16], "counts": "6 4"}, "damaged"),
    "compressed, not ASCII": ({"size": [12, 16], "counts": "6\u00b5"}, "characters that"),
    "compressed, negative": ({"size": [12, 16], "counts": "6O"}, "do not add up"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_broken_ones_are_told(case):
    segmentation, message = BAD[case]
    with pytest.raises(DataError, match=message):
        checked_rle(segmentation, 12, 16)


@given(st.text(alphabet=[chr(code) for code in range(45, 115)], max_size=12))
def test_any_text_is_a_mask_or_told(text):
    """What pycocotools would follow out of its memory."""
    try:
        rle = checked_rle({"size": [5, 4], "counts": text}, 5, 4)
    except DataError:
        return
    assert 0 < coco_mask.decode(rle).sum() <= 20


def test_edges_that_occur_twice_are_none():
    rle = rle_of_edges(np.array([3, 5, 5, 8]), 4, 5)  # 3 to 8, in two pieces
    assert np.flatnonzero(coco_mask.decode(rle).T.ravel()).tolist() == [3, 4, 5, 6, 7]
    with pytest.raises(DataError, match="no pixel"):
        rle_of_edges(np.array([3, 3]), 4, 5)
    # the end of the image is none either
    corner = np.zeros((4, 5), np.uint8, order="F")
    corner[2:, 4] = 1
    assert rle_of_edges(np.array([18, 20]), 4, 5)["counts"] == encoded(corner)
