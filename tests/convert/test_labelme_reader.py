"""labelme's JSON files."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.draw
from dsb2018_source import write_source
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from labelme_source import BOX, ONE, bits, content, encoded, shape
from outline_sources import (
    HEIGHT,
    IMAGE,
    WIDTH,
    box_mask,
    differs_at_most_at_the_edge,
    masks,
    read,
    square,
)
from scipy import ndimage

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.geojson import GeojsonReader
from maskrcnnpp.convert.readers.labelme import LabelmeReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.masks.pieces import FEW


def test_good_source(tmp_path, kind):
    files = {
        "a.png": IMAGE,
        "a.json": content(ONE, shape([[5, 6], [9, 20]], "rectangle")),
        "json/b ü.json": content(ONE, path="..\\images\\b ü.png"),
        "images/b ü.png": IMAGE,
        "c.json": content(ONE, path="/home/somebody/else.png"),
        "c.png": IMAGE,
        "d.json": content(ONE, path="gone.jpg", data=encoded(IMAGE)),
        "e.json": content(path="e.png", imageHeight=None, imageWidth=None),
        "e.png": IMAGE,
        "a.png.overlay.png": IMAGE,
        "readme.txt": b"x",
        "__MACOSX/._a.json": b"x",
    }
    path = write_source(tmp_path, files, kind)
    samples, problems = read(LabelmeReader, path)
    assert problems.lines() == ""
    assert {name: len(s.masks) for name, s in samples.items()} == {
        "a": 2, "c": 1, "d": 1, "e": 0, "json__b ü": 1,
    }  # fmt: skip
    for sample in samples.values():
        assert (sample.image, sample.suffix) == (IMAGE, ".png")
        assert (sample.height, sample.width, sample.stain) == (30, 40, "fluorescence")
        assert all(rle == sample.masks[0] for rle in sample.masks[:1])
    for name in ("a", "c", "d", "json__b ü"):
        assert (masks(samples[name])[0] == BOX).all()
    assert (masks(samples["a"])[1] == box_mask(6, 5, 20, 9)).all()
    assert read(LabelmeReader, path, workers=2)[0] == samples


def test_which_sources_it_fits():
    names = ["x/a.json", "x/a.tif"]
    assert LabelmeReader.fits(names)
    assert not GeojsonReader.fits(names) and not LabelsReader.fits(names)
    assert not LabelmeReader.fits(["a.png", "b.json"])
    assert not LabelmeReader.fits(["a.png", "a.geojson", "a.json"])


@pytest.mark.parametrize(
    "corners", [[[2, 3], [10, 8]], [[10, 8], [2, 3]], [[2, 8], [10, 3]], square(2, 3, 10, 8)]
)
def test_rectangles(tmp_path, corners):
    files = {"a.png": IMAGE, "a.json": content(shape(corners, "rectangle"))}
    samples, problems = read(LabelmeReader, write_source(tmp_path, files, "zip"))
    assert (masks(samples["a"])[0] == BOX).all() and not problems


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", None])
def test_shapes_that_are_read_as_polygons(tmp_path, kind):
    files = {"a.png": IMAGE, "a.json": content(shape(square(2, 3, 10, 8), kind))}
    samples, problems = read(LabelmeReader, write_source(tmp_path, files, "zip"))
    assert (masks(samples["a"])[0] == BOX).all() and not problems


@settings(max_examples=50)
@given(
    x=st.floats(-3, WIDTH + 3), y=st.floats(-3, HEIGHT + 3), radius=st.floats(0, 15),
    angle=st.floats(0, 6.3),
)  # fmt: skip
def test_circles(tmp_path_factory, x, y, radius, angle):
    on = [x + radius * np.cos(angle), y + radius * np.sin(angle)]
    files = {"a.png": IMAGE, "a.json": content(shape([[x, y], on], "circle"))}
    samples, problems = read(
        LabelmeReader, write_source(tmp_path_factory.mktemp("circle"), files, "zip")
    )
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(columns - x, rows - y)
    found = masks(samples["a"])
    found = found[0] if found else np.zeros((HEIGHT, WIDTH), bool)
    assert found[distance < radius - 1e-6].all() and not found[distance > radius + 1e-6].any()
    assert bool(problems) != found.any()


@settings(max_examples=50)
@given(
    mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()),
    left=st.integers(-10, WIDTH), top=st.integers(-10, HEIGHT),
    behind=st.booleans(),
)  # fmt: skip
def test_masks_to_the_pixel(tmp_path_factory, mask, left, top, behind):
    rows, columns = mask.shape
    last = [left + columns - 1 + behind, top + rows - 1 + behind]
    one = shape([[left, top], last], "mask", mask=bits(mask))
    files = {"a.png": IMAGE, "a.json": content(one)}
    samples, problems = read(
        LabelmeReader, write_source(tmp_path_factory.mktemp("mask"), files, "zip")
    )
    wide = np.zeros((HEIGHT + 40, WIDTH + 40), bool)
    wide[top + 20 : top + 20 + rows, left + 20 : left + 20 + columns] = mask
    expected = wide[20:-20, 20:-20]
    if ndimage.label(expected, np.ones((3, 3)))[1] > FEW:
        assert not samples and "pieces: is it" in problems.lines()
        return
    found = masks(samples["a"])
    if expected.any():
        assert (found[0] == expected).all() and not problems
    else:
        assert not found and "shape 1 is empty" in problems.lines()


def test_groups_are_one_object(tmp_path):
    shapes = [
        shape(square(2, 3, 10, 8), group=1),
        shape(square(20, 3, 25, 8), group=2),
        shape([[12, 3], [14, 8]], "rectangle", group=1),
        shape([[30, 20]], "point", group=1),
        shape(square(30, 3, 35, 8), group=1, label="cell"),
        shape(square(30, 13, 35, 18)),
        shape(square(30, 23, 35, 28)),
        shape([[4, 20], [5, 20]], "mask", group=2, mask=bits(np.ones((1, 2)))),
    ]
    files = {"a.png": IMAGE, "a.json": content(*shapes)}
    samples, problems = read(LabelmeReader, write_source(tmp_path, files, "zip"))
    found = masks(samples["a"])
    assert (found[0] == (BOX | box_mask(3, 12, 8, 14))).all()
    assert (found[1] == (box_mask(3, 20, 8, 25) | box_mask(20, 4, 21, 6))).all()
    assert [int(m.sum()) for m in found[2:]] == [25, 25, 25]
    assert samples["a"].category_ids == (2, 2, 1, 2, 2)
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == ("region", "a.json")
    assert "shape 4 is a point, which has no area" in problem.reason


def test_classes(tmp_path):
    shapes = [shape(square(k, k, k + 5, k + 5), label=name) for k, name in enumerate("bab")]
    files = {
        "a.png": IMAGE,
        "a.json": content(*shapes, shape([[1, 1]], "point", label="centre")),
        "c.png": IMAGE,
        "c.json": content(shape(square(1, 1, 5, 5), label="c"), path="c.png"),
    }
    path = write_source(tmp_path, files, "folder")
    reader = LabelmeReader(path, ProblemLog())
    assert list(reader.categories) == [
        {"id": k, "name": name} for k, name in enumerate("abc", start=1)
    ]
    assert [sample.category_ids for sample in reader.read(workers=0)] == [(2, 1, 2), (3,)]
    samples, problems = read(LabelmeReader, path, class_names=["b"])
    assert samples["a"].category_ids == (1, 1) and samples["c"].category_ids == ()
    assert "shape 2 is of the class 'a', which is not among those wanted" in problems.lines()
    assert {problem.scope for problem in problems.problems} == {"region", "unwanted"}


def test_an_outline_is_that_of_scikit_image_but_for_its_edge(tmp_path):
    points = [[5.3, 4.8], [30.2, 8.1], [33.7, 21.4], [18.2, 16.9], [7.5, 25.6]]
    files = {"a.png": IMAGE, "a.json": content(shape(points))}
    samples, _ = read(LabelmeReader, write_source(tmp_path, files, "zip"))
    expected = skimage.draw.polygon2mask((HEIGHT, WIDTH), np.array(points)[:, ::-1] - 0.5)
    assert differs_at_most_at_the_edge(masks(samples["a"])[0], expected)
