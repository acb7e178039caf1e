"""Measurements of masks, held against those of scikit-image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from maskrcnnpp.convert.synthetic import generate_nuclei
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers.shape import measure_shape

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans())


def shape_of(pixels, top=5, left=7):
    height, width = pixels.shape
    box = (left, top, left + width, top + height)
    return measure_shape(Detection(box, 1.0, 0, pixels, top, left))


def check(pixels, top=5, left=7):
    (region,) = regionprops(np.pad(pixels, 1).astype(np.uint8))
    y, x = region.centroid
    expected = {
        "area": region.area,
        "x": x - 1 + left,
        "y": y - 1 + top,
        "major_axis": region.axis_major_length,
        "minor_axis": region.axis_minor_length,
        "eccentricity": region.eccentricity,
        "solidity": region.solidity,
        "perimeter": region.perimeter,
    }
    # the absolute tolerance is for skimage's rounding where a value is 0
    assert shape_of(pixels, top, left) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(MASKS)
def test_values_are_those_of_skimage(pixels):
    pixels[0, 0] = True
    check(pixels)


@pytest.mark.parametrize(
    "rows",
    [
        ["#"],
        ["#####"],
        ["#", "#", "#"],
        ["#..#"],
        ["#..", ".#.", "..#"],
        ["###", "#.#", "###"],
        ["#..", "..#", ".##"],
        ["#.#", ".#.", "#.#"],
    ],
)
def test_small_masks_parts_and_holes(rows):
    check(np.array([list(row) for row in rows]) == "#")


def test_values_of_nuclei():
    _, masks = generate_nuclei(0, 256, 256, 30)
    for crop in masks:
        check(crop.pixels, crop.top, crop.left)


def test_values_of_larger_objects():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-60:61, -80:81]
    for angle, narrow in rng.uniform((0, 0.1), (np.pi, 1), (20, 2)):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        pixels = np.hypot(along, across / narrow) <= 55
        check(pixels & (rng.random(pixels.shape) < 0.95))


def test_what_is_0_or_1_is_so_exactly():
    line, square = shape_of(np.eye(7, dtype=bool)), shape_of(np.ones((5, 5), dtype=bool))
    assert line["minor_axis"] == 0 and line["eccentricity"] == 1
    assert square["eccentricity"] == 0 and square["solidity"] == 1
    pixel = shape_of(np.ones((1, 1), dtype=bool))
    assert pixel["major_axis"] == pixel["eccentricity"] == 0 and pixel["solidity"] == 1


def test_values_of_the_largest_masks():
    found = shape_of(np.ones((2000, 2000), dtype=bool))
    assert found["area"] == 4_000_000 and found["solidity"] == 1
    assert (found["x"], found["y"]) == (7 + 999.5, 5 + 999.5)
    # of the n x n pixel centres: a variance of (n**2 - 1) / 12
    assert found["major_axis"] == pytest.approx(4 * np.sqrt((2000**2 - 1) / 12))
    assert found["minor_axis"] == found["major_axis"]
