"""Outlines of masks, held against the union of the squares of their pixels."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskrcnnpp.convert.synthetic import generate_nuclei
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers.outlines import outline

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans())


def outline_of(pixels, top=5, left=7):
    height, width = pixels.shape
    box = (left, top, left + width, top + height)
    return outline(Detection(box, 1.0, 0, pixels, top, left))


def union_of_pixels(pixels, top=5, left=7):
    rows, columns = np.nonzero(pixels)
    x, y = columns + left, rows + top
    return shapely.union_all(shapely.box(x, y, x + 1, y + 1))


def check(pixels, top=5, left=7):
    shape = outline_of(pixels, top, left)
    assert shape.is_valid and shape.area == pixels.sum()
    assert shapely.equals(shape, union_of_pixels(pixels, top, left))
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            steps = np.diff(np.array(ring.coords), axis=0)
            # along rows and columns by turns: no vertex is doubled or between two others
            assert ((steps != 0).sum(axis=1) == 1).all()
            assert ((steps != 0) != (np.roll(steps, 1, axis=0) != 0)).all()


@given(MASKS)
def test_outlines_are_the_union_of_the_pixels(pixels):
    pixels[0, 0] = True
    check(pixels)


@pytest.mark.parametrize(
    ("rows", "kind", "holes"),
    [
        (["#"], "Polygon", 0),
        (["#####"], "Polygon", 0),
        (["#", "#", "#"], "Polygon", 0),
        (["###", "#.#", "###"], "Polygon", 1),
        (["#..", "..#", ".##"], "MultiPolygon", 0),
        (["#.", ".#"], "MultiPolygon", 0),  # parts that touch at a corner
        (["#.#", ".#.", "#.#"], "MultiPolygon", 0),
        ([".#.", "#.#", ".#."], "MultiPolygon", 0),  # and that have a gap between them
        (["####", "#.##", "##.#", "####"], "Polygon", 2),  # holes that touch
        (["###", "#.#", "##."], "Polygon", 1),  # a hole that touches the outside
        (["#####", "#...#", "#.#.#", "#...#", "#####"], "MultiPolygon", 1),  # a part in a hole
    ],
)
def test_parts_and_holes(rows, kind, holes):
    pixels = np.array([list(row) for row in rows]) == "#"
    check(pixels)
    shape = outline_of(pixels)
    assert shape.geom_type == kind
    assert shapely.get_num_interior_rings(shapely.get_parts(shape)).sum() == holes


def test_outlines_of_nuclei():
    _, masks = generate_nuclei(0, 256, 256, 30)
    for crop in masks:
        check(crop.pixels, crop.top, crop.left)


def test_outline_of_a_large_mask():
    y, x = np.mgrid[-500:501, -500:501]
    pixels = np.hypot(y, x) <= 500
    pixels[::50, ::50] = False
    shape = outline_of(pixels)
    assert shape.is_valid and shape.area == pixels.sum()
