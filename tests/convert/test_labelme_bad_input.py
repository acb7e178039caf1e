"""labelme's files that are damaged, or not what is wanted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dsb2018_source import write_source
from hypothesis import given, settings
from hypothesis import strategies as st
from labelme_source import BOX, ONE, bits, content, encoded, shape
from outline_sources import (
    IMAGE,
    damaged,
    masks,
    read,
    square,
)

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.labelme import LabelmeReader
from maskrcnnpp.errors import DataError

# a shape beside a good one, what is said of it, whether the image stays
BAD_SHAPES = {
    "point": (shape([[1, 2]], "point"), "shape 2 is a point, which has no area", True),
    "line": (shape([[1, 2], [3, 4]], "line"), "shape 2 is a line, which", True),
    "linestrip": (shape([[1, 2], [3, 4]], "linestrip"), "is a linestrip", True),
    "two points": (shape([[1, 2], [3, 4]]), "shape 2 is empty", True),
    "no points": (shape([]), "shape 2 is empty", True),
    "no area": (shape([[1, 2], [1, 9]], "rectangle"), "shape 2 is empty", True),
    "outside": (shape(square(90, 2, 95, 9)), "shape 2 is empty", True),
    "circle of three": (shape(square(1, 2, 3, 4)[:3], "circle"), "circle of 3 points", False),
    "circle, not finite": (shape([[1, 2], [float("nan"), 3]], "circle"), "not a finite", False),
    "words": (shape([["a", 1], [2, 3], [4, 5]]), "no pairs of numbers", False),
    "null": (shape(None), "no pairs of numbers", False),
    "no label": (shape(square(2, 3, 5, 6), label=None), "shape 2 has no label", False),
    "no mask": (shape([[1, 2], [3, 4]], "mask"), "has a damaged mask: no base64", False),
    "mask no image": (
        shape([[1, 2], [3, 4]], "mask", mask=encoded(b"text")), "has a damaged mask", False,
    ),
    "mask no base64": (
        shape([[1, 2], [3, 4]], "mask", mask="abc"), "has a damaged mask: no base64", False,
    ),
    "mask of another size": (
        shape([[1, 2], [8, 9]], "mask", mask=bits(np.ones((3, 3)))),
        "has a mask of 3x3 pixels in a box 8x8", False,
    ),
    "huge": (shape(square(0, 0, 1e12, 1e12)), "leads far out of any image", False),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SHAPES)
def test_bad_shapes(tmp_path, case):
    bad, message, stays = BAD_SHAPES[case]
    files = {"a.png": IMAGE, "a.json": content(ONE, bad)}
    samples, problems = read(LabelmeReader, write_source(tmp_path, files, "folder"))
    (problem,) = problems.problems
    assert message in problem.reason and problem.item == "a.json"
    scope = "object" if "empty" in message else "region"
    assert problem.scope == (scope if stays else "image")
    assert ("a" in samples) == stays
    if stays:
        (found,) = masks(samples["a"])
        assert (found == BOX).all()


GOOD = content(ONE, path="b.png")
# what is done to image b, scope, item and reason
BAD = {
    "truncated": ({"b.json": GOOD[:-30]}, "image", "b.json", "is not JSON, or damaged"),
    "empty file": ({"b.json": b""}, "image", "b.json", "is not JSON"),
    "other JSON": ({"b.json": b'{"images": []}'}, "file", "b.json", "is not a file of labelme"),
    "a list": ({"b.json": b"[]"}, "file", "b.json", "is not a file of labelme"),
    "shapes no list": ({"b.json": b'{"shapes": {}}'}, "image", "b.json", "not a list of shapes"),
    "shapes no shapes": ({"b.json": b'{"shapes": [1]}'}, "image", "b.json", "not a list of shapes"),
    "truncated image": ({"b.png": IMAGE[:200]}, "image", "b.png", ""),
    "no image": ({"b.png": None}, "image", "b.json", "imagePath 'b.png' is not an image in the"),
    "image outside": (
        {"b.png": None, "b.json": content(ONE, path="../../c.png")},
        "image", "b.json", "'../../c.png' leads out of the source",
    ),
    "no JSON": ({"b.json": None}, "image", "b.png", "no JSON file of labelme names this image"),
    "another size": (
        {"b.json": content(ONE, path="b.png", imageHeight=99)},
        "image", "b.json", "is of 40x99 pixels, but the image b.png is of 40x30",
    ),
    "damaged imageData": (
        {"b.png": None, "b.json": content(ONE, data=encoded(IMAGE)[:-9], path="")},
        "image", "b.json", "has a damaged imageData",
    ),
    "imageData no image": (
        {"b.png": None, "b.json": content(ONE, data=encoded(b"text"), path="")},
        "image", "b.json", "has a damaged imageData: no PNG, JPEG, BMP or TIFF",
    ),
    "image of another file": (
        {"b.png": None, "b.json": content(ONE, path="a.png")},
        "image", "b.json", "is of the image a.png, as a.json is; keep one",
    ),
    "two images": (
        {"b.tif": IMAGE, "b.json": content(ONE, path="")}, "image", "b.json", "b.png and b.tif",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, kind, case):
    changes, scope, item, message = BAD[case]
    files = {"a.png": IMAGE, "a.json": content(ONE), "b.png": IMAGE, "b.json": GOOD, **changes}
    files = {name: data for name, data in files.items() if data is not None}
    path = write_source(tmp_path, files, kind)
    samples, problems = read(LabelmeReader, path)
    assert list(samples) == ["a"] and (masks(samples["a"])[0] == BOX).all()
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == (scope, item)
    assert message in problem.reason and problem.reason
    problems.skip_bad = False
    with pytest.raises(DataError, match="--skip-bad") as error:
        problems.raise_unless_skipped(path)
    assert item in str(error.value)


def test_no_image_outside_the_source_is_read(tmp_path):
    """Though it is there, and has the right size."""
    (tmp_path / "secret.png").write_bytes(IMAGE)
    for said in ("../secret.png", str(tmp_path / "secret.png"), "x/../../secret.png"):
        folder = tmp_path / str(len(said))
        folder.mkdir()
        path = write_source(folder, {"a.json": content(ONE, path=said)}, "folder")
        (path.parent / "secret.png").write_bytes(IMAGE)
        with pytest.raises(DataError, match="a.json: has no image: imagePath '.*secret.png' "):
            LabelmeReader(path, ProblemLog())


def test_two_files_of_one_name(tmp_path):
    files = {
        "a.png": IMAGE, "a.json": content(ONE), "images/a.png": IMAGE, "images/a.json": content(ONE)
    }  # fmt: skip
    samples, problems = read(LabelmeReader, write_source(tmp_path, files, "folder"))
    (problem,) = problems.problems
    assert list(samples) == ["a"] and problem.item == "images/a.json"
    assert "two images would be called a" in problem.reason


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_content_never_ends_in_a_traceback(tmp_path_factory, data):
    good = json.loads(
        content(
            shape(square(2, 3, 10, 8), group=1),
            shape([[5, 6], [9, 20]], "rectangle", group=1),
            shape([[5, 6], [9, 20]], "circle"),
            shape([[5, 6], [6, 7]], "mask", mask=bits(np.ones((2, 2)))),
            data=encoded(IMAGE),
        )
    )
    bad = json.dumps(damaged(good, data)).encode()
    files = {"a.png": IMAGE, "a.json": bad, "b.png": IMAGE, "b.json": GOOD}
    samples, problems = read(
        LabelmeReader, write_source(tmp_path_factory.mktemp("damaged"), files, "zip")
    )
    assert ("a" in samples) != any(
        problem.scope in ("image", "file") for problem in problems.problems
    )
    assert "b" in samples
