"""GeoJSON that is damaged, or not what is wanted."""

from __future__ import annotations

import json

import pytest
from dsb2018_source import write_source
from geojson_source import GOOD, ONE, collection, feature
from hypothesis import given, settings
from hypothesis import strategies as st
from outline_sources import (
    IMAGE,
    box_mask,
    damaged,
    masks,
    read,
    square,
)

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.geojson import GeojsonReader
from maskrcnnpp.errors import DataError


def geometry(kind, coordinates):
    return feature(geometry={"type": kind, "coordinates": coordinates})


# a feature beside a good one, what is said of it, whether the image stays
BAD_FEATURES = {
    "point": (geometry("Point", [1, 2]), "feature 2 is a Point, which has no area", True),
    "line": (geometry("LineString", [[1, 2], [3, 4]]), "is a LineString, which has no area", True),
    "no geometry": ({**ONE, "geometry": None}, "feature 2 has no geometry", True),
    "no rings": (geometry("Polygon", []), "feature 2 is empty", True),
    "two points": (geometry("Polygon", [[[1, 2], [3, 4]]]), "feature 2 is empty", True),
    "no area": (geometry("Polygon", [[[5, 5]] * 4]), "feature 2 is empty", True),
    "outside": (feature(square(100, 100, 110, 110)), "feature 2 is empty", True),
    "words": (geometry("Polygon", [[["x", 2], [3, 4], [5, 6]]]), "no pairs of numbers", False),
    "numbers": (geometry("Polygon", [[1, 2, 3]]), "no pairs of numbers", False),
    "ragged": (geometry("Polygon", [[[1, 2], [3], [4, 5]]]), "no pairs of numbers", False),
    "too flat": (geometry("Polygon", square(0, 0, 5, 5)), "no pairs of numbers", False),
    "no list": (geometry("Polygon", {"x": 1}), "feature 2 has coordinates that are not", False),
    "not finite": (
        geometry("Polygon", [square(0, 0, float("inf"), 5)]), "not a finite number", False,
    ),
    "huge": (geometry("Polygon", [square(0, 0, 1e12, 5)]), "leads far out of any image", False),
    "huge integer": (geometry("Polygon", [square(0, 0, 10**400, 5)]), "no pairs of num", False),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FEATURES)
def test_bad_features(tmp_path, case):
    bad, message, stays = BAD_FEATURES[case]
    files = {"a.png": IMAGE, "a.geojson": collection(ONE, bad), "b.png": IMAGE, "b.geojson": GOOD}
    samples, problems = read(GeojsonReader, write_source(tmp_path, files, "folder"))
    (problem,) = problems.problems
    assert message in problem.reason and problem.item == "a.geojson"
    scope = "region" if "no area" in message else "object"
    assert problem.scope == (scope if stays else "image")
    assert len(samples["b"].masks) == 2
    assert ("a" in samples) == stays
    if stays:
        assert (masks(samples["a"])[0] == box_mask(3, 2, 8, 10)).all()


# what is done to image b, the item and the reason
BAD = {
    "truncated": ({"b.geojson": GOOD[:-30]}, "b.geojson", "is not JSON, or damaged"),
    "empty file": ({"b.geojson": b""}, "b.geojson", "is not JSON"),
    "not text": ({"b.geojson": b"\x80\xff\x00\x01"}, "b.geojson", "is not JSON"),
    "too deep": ({"b.geojson": b"[" * 200_000}, "b.geojson", "is not JSON"),
    "other JSON": ({"b.geojson": b'{"shapes": []}'}, "b.geojson", "is not a GeoJSON"),
    "list of others": ({"b.geojson": b'[{"x": 1}]'}, "b.geojson", "is not a GeoJSON"),
    "truncated image": ({"b.png": IMAGE[:200]}, "b.png", ""),
    "no image": ({"b.png": None}, "b.geojson", "no image of this name lies beside it"),
    "no outlines": ({"b.geojson": None}, "b.png", "has no annotation file beside it"),
    "labelme": ({"b.geojson": None, "b.json": b'{"shapes": []}'}, "b.png", "has no annotation"),
    "damaged JSON": ({"b.geojson": None, "b.json": b"{"}, "b.json", "is not JSON"),
    "two images": ({"b.tif": IMAGE}, "b.geojson", "fits b.png and b.tif"),
    "two files": ({"b.png.geojson": GOOD}, "b.png", "b.geojson and b.png.geojson; keep one"),
    "unsafe name": (
        {"b.png": None, "b.geojson": None, "b .png": IMAGE, "b .geojson": GOOD}, "b .png", "rename",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, kind, case):
    changes, item, message = BAD[case]
    files = {"a.png": IMAGE, "a.geojson": GOOD, "b.png": IMAGE, "b.geojson": GOOD, **changes}
    files = {name: data for name, data in files.items() if data is not None}
    path = write_source(tmp_path, files, kind)
    samples, problems = read(GeojsonReader, path)
    assert list(samples) == ["a"] and len(samples["a"].masks) == 2
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == ("image", item)
    assert message in problem.reason and problem.reason
    problems.skip_bad = False
    with pytest.raises(DataError, match="--skip-bad") as error:
        problems.raise_unless_skipped(path)
    assert item in str(error.value)


def test_two_images_of_one_name(tmp_path):
    files = {"a.png": IMAGE, "a.png.geojson": GOOD, "images/a.png": IMAGE, "images/a.geojson": GOOD}
    samples, problems = read(GeojsonReader, write_source(tmp_path, files, "folder"))
    assert list(samples) == ["a"]
    (problem,) = problems.problems
    assert "two images would be called a: this and a.png" in problem.reason
    assert problem.item == "images/a.png"


def test_what_is_wrong_is_told_where_nothing_is_right(tmp_path):
    path = write_source(tmp_path, {"a.geojson": GOOD}, "folder")
    with pytest.raises(DataError, match="a.geojson: no image of this name lies beside it"):
        GeojsonReader(path, ProblemLog())


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_content_never_ends_in_a_traceback(tmp_path_factory, data):
    good = json.loads(
        collection(
            feature(square(0, 0, 30, 30), kind="annotation"),
            feature(square(2, 3, 10, 8), square(4, 4, 6, 6), classification={"names": ["x"]}),
        )
    )
    bad = json.dumps(damaged(good, data)).encode()
    files = {"a.png": IMAGE, "a.geojson": bad, "b.png": IMAGE, "b.geojson": GOOD}
    samples, problems = read(
        GeojsonReader, write_source(tmp_path_factory.mktemp("damaged"), files, "zip")
    )
    assert ("a" in samples) != any(p.scope in ("image", "file") for p in problems.problems)
    assert "b" in samples
