"""GeoJSON outlines, of QuPath and of this project's own writer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import skimage.draw
from dsb2018_source import png, write_source
from geojson_source import GOOD, ONE, collection, feature
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from outline_sources import (
    HEIGHT,
    IMAGE,
    PIXELS,
    WIDTH,
    box_mask,
    differs_at_most_at_the_edge,
    masks,
    read,
    square,
    written,
)
from scipy import ndimage

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.readers.geojson import GeojsonReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.errors import DataError
from maskrcnnpp.inference.writers.geojson import write_geojson


def test_good_source(tmp_path, kind):
    files = {
        "a.png": IMAGE,
        "a.geojson": GOOD,
        "b c/é.tif": None,
        "b c/é.tif.geojson": json.dumps([ONE]).encode(),
        "d.jpg": None,
        "d.json": collection(),
        "e.bmp": None,
        "e.geojson": json.dumps(ONE).encode(),
        "a.png.overlay.png": IMAGE,
        "dataset.json": b"{}",
        "readme.txt": b"x",
        "__MACOSX/._a.geojson": b"x",
    }
    for name, data in files.items():
        if data is None:
            files[name] = _encoded(name)
    path = write_source(tmp_path, files, kind)
    samples, problems = read(GeojsonReader, path)
    assert problems.lines() == ""
    assert {name: len(s.masks) for name, s in samples.items()} == {
        "a": 2, "b c__é": 1, "d": 0, "e": 1,
    }  # fmt: skip
    first = samples["a"]
    assert first.image == IMAGE and (first.suffix, first.height, first.width) == (".png", 30, 40)
    assert first.category_ids == (1, 1) and first.stain == "fluorescence"
    assert samples["b c__é"].image == files["b c/é.tif"] and samples["b c__é"].suffix == ".tif"
    one, two = masks(first)
    assert (one == box_mask(3, 2, 8, 10)).all() and (two == box_mask(10, 20, 30, 25)).all()
    assert read(GeojsonReader, path, workers=2)[0] == samples
    assert list(GeojsonReader(path, ProblemLog()).categories) == [{"id": 1, "name": "nucleus"}]


def _encoded(name):
    import cv2

    return cv2.imencode(name[-4:], PIXELS)[1].tobytes()


def test_which_sources_it_fits():
    assert GeojsonReader.fits(["x/a.tif", "x/a.geojson"])
    assert GeojsonReader.fits(["a.png.geojson", "a.png"])
    assert not GeojsonReader.fits(["a.png", "b.geojson"])
    assert not GeojsonReader.fits(["a.png", "a.json"])  # labelme's, as likely as not
    assert not GeojsonReader.fits(["a.png", "a.geojson.gz"])
    names = ["a.png", "a.geojson"]
    assert not Dsb2018Reader.fits(names) and not LabelsReader.fits(names)


CROPS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans())


@settings(max_examples=60)
@given(pixels=st.lists(CROPS, max_size=4))
def test_what_this_project_writes_is_read_to_the_pixel(tmp_path_factory, pixels):
    """With holes, islands in holes, and parts that touch at a corner."""
    pixels = [crop for crop in pixels if 0 < ndimage.label(crop, np.ones((3, 3)))[1] <= 3]
    folder = tmp_path_factory.mktemp("round")
    (folder / "a.png").write_bytes(IMAGE)
    names = ("cell", "nucleus")
    expected = written(write_geojson, folder / "a.png.geojson", pixels, names)
    samples, problems = read(GeojsonReader, folder, class_names=names)
    assert not problems
    found = masks(samples["a"])
    assert len(found) == len(expected)
    assert all((one == other).all() for one, other in zip(found, expected))
    assert samples["a"].category_ids == tuple(k % 2 + 1 for k in range(len(pixels)))


def test_an_island_in_a_hole(tmp_path):
    pixels = np.ones((7, 7), bool)
    pixels[1:6, 1:6] = False
    pixels[3, 3] = True
    (tmp_path / "a.png").write_bytes(IMAGE)
    (expected,) = written(write_geojson, tmp_path / "a.geojson", [pixels])
    samples, _ = read(GeojsonReader, tmp_path)
    assert (masks(samples["a"])[0] == expected).all() and expected.sum() == 25


POINT = st.tuples(st.floats(-3, WIDTH + 3), st.floats(-3, HEIGHT + 3))


@settings(max_examples=60)
@given(middle=POINT, radius=st.floats(3, 12), count=st.integers(3, 20))
def test_any_outline_is_that_of_scikit_image_but_for_its_edge(
    tmp_path_factory, middle, radius, count
):
    angles = np.arange(count) / count * 2 * np.pi
    points = np.stack((np.cos(angles), np.sin(angles)), axis=1) * radius + middle
    # pixel (0, 0) has its centre at 0.5, in scikit-image at 0
    expected = skimage.draw.polygon2mask((HEIGHT, WIDTH), points[:, ::-1] - 0.5)
    folder = tmp_path_factory.mktemp("any")
    content = collection(feature(points.tolist()))
    samples, problems = read(
        GeojsonReader, write_source(folder, {"a.png": IMAGE, "a.geojson": content}, "folder")
    )
    found = masks(samples["a"])
    if found and expected.sum() > 9:
        assert differs_at_most_at_the_edge(found[0], expected)
    elif not found:
        assert expected.sum() < 9 and "feature 1 is empty" in problems.lines()


def classes(*names):
    return [feature(square(k, k, k + 5, k + 5), classification=n) for k, n in enumerate(names)]


def test_classes(tmp_path):
    features = classes(
        {"name": "Tumor", "colorRGB": -3670016},
        None,
        {"names": ["Immune cells", "Positive"], "color": [1, 2, 3]},
        "Stroma",
        {"name": None},
    )
    files = {"a.png": IMAGE, "a.geojson": collection(*features)}
    path = write_source(tmp_path, files, "folder")
    reader = GeojsonReader(path, ProblemLog())
    found = [category["name"] for category in reader.categories]
    assert found == ["Immune cells: Positive", "Stroma", "Tumor", "nucleus"]
    (sample,) = reader.read(workers=0)
    assert sample.category_ids == (3, 4, 1, 2, 4)

    samples, problems = read(GeojsonReader, path, class_names=["nucleus", "Tumor"])
    assert samples["a"].category_ids == (2, 1, 1)
    told = [(p.scope, p.item, p.reason) for p in problems.problems]
    assert [t[:2] for t in told] == [("unwanted", "a.geojson")] * 2
    problems.skip_bad = False
    problems.raise_unless_skipped(path)  # what the user left out is not an error
    assert told[0][2].startswith("feature 3 is of the class 'Immune cells: Positive'")
    assert told[1][2].startswith("feature 4 is of the class 'Stroma'")
    with pytest.raises(DataError, match="each once"):
        GeojsonReader(path, ProblemLog(), class_names=["a", "a"])


def test_nuclei_of_cells(tmp_path):
    nucleus = {"type": "Polygon", "coordinates": [square(4, 4, 6, 6)]}
    cell = feature(square(2, 3, 10, 8), kind="cell", nucleusGeometry=nucleus)
    bare = feature(square(12, 13, 18, 18), kind="cell", classification={"name": "Other"})
    path = write_source(tmp_path, {"a.png": IMAGE, "a.geojson": collection(cell, bare)}, "folder")
    samples, problems = read(GeojsonReader, path)
    assert [int(m.sum()) for m in masks(samples["a"])] == [40, 30] and not problems
    samples, problems = read(GeojsonReader, path, nuclei=True)
    assert (masks(samples["a"])[0] == box_mask(4, 4, 6, 6)).all()
    assert samples["a"].category_ids == (1,)
    categories = GeojsonReader(path, ProblemLog(), nuclei=True).categories
    assert [category["name"] for category in categories] == ["nucleus"]
    (problem,) = problems.problems
    assert problem.scope == "object" and "feature 2 has no nucleusGeometry" in problem.reason


def test_kinds_of_objects(tmp_path):
    features = [
        feature(square(0, 0, 40, 30), kind="annotation", classification={"name": "Tissue"}),
        feature(square(2, 3, 10, 8)),
        feature(square(30, 3, 36, 8), kind="annotation"),  # drawn by hand: an object
        feature(square(2, 13, 10, 18), kind="tile"),
        feature(square(2, 20, 10, 28), kind=None, id="PathCellObject"),
        feature(square(2, 20, 10, 28), kind=None, id="PathRootObject"),
    ]
    path = write_source(tmp_path, {"a.png": IMAGE, "a.geojson": collection(*features)}, "folder")
    samples, problems = read(GeojsonReader, path)
    assert [int(m.sum()) for m in masks(samples["a"])] == [40, 30, 64]
    reasons = [p.reason for p in problems.problems]
    assert {p.scope for p in problems.problems} == {"region"}
    problems.raise_unless_skipped(path)  # nothing is bad
    assert problems.summary().startswith("left out: 3 regions")
    assert "feature 1 is an annotation around detections: a region" in reasons[0]
    assert "feature 4 is a tile" in reasons[1] and "feature 6 is a root" in reasons[2]
    assert [c["name"] for c in GeojsonReader(path, ProblemLog()).categories] == ["nucleus"]


def test_a_self_crossing_polygon_is_read(tmp_path):
    bow = [[2, 2], [22, 22], [22, 2], [2, 22]]
    path = write_source(tmp_path, {"a.png": IMAGE, "a.geojson": collection(feature(bow))}, "folder")
    samples, problems = read(GeojsonReader, path)
    expected = skimage.draw.polygon2mask((HEIGHT, WIDTH), np.array(bow)[:, ::-1] - 0.5)
    assert not problems and differs_at_most_at_the_edge(masks(samples["a"])[0], expected)


def test_points_with_a_height_and_parts_outside(tmp_path):
    high = [[*point, 7.5] for point in square(-5, -5, 4, 4)]
    path = write_source(
        tmp_path, {"a.png": IMAGE, "a.geojson": collection(feature(high))}, "folder"
    )
    samples, problems = read(GeojsonReader, path)
    assert not problems and (masks(samples["a"])[0] == box_mask(0, 0, 4, 4)).all()


def test_colour_is_kept(tmp_path):
    image = png(np.full((30, 40, 3), (200, 120, 190), np.uint8))
    path = write_source(tmp_path, {"a.png": image, "a.geojson": GOOD}, "folder")
    samples, _ = read(GeojsonReader, path)
    assert samples["a"].image == image and samples["a"].stain == "histology"
