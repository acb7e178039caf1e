"""ROIs that are damaged, or no areas."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from dsb2018_source import write_source
from hypothesis import given, settings
from hypothesis import strategies as st
from imagej_source import BOX, GOOD, ONE, TIF, box, composite, exact, polygon, zipped
from outline_sources import (
    IMAGE,
    masks,
    read,
    square,
)
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.imagej import ImagejReader
from maskrcnnpp.errors import DataError

# a ROI beside a good one, what is said of it, whether the image stays
BAD_ROIS = {
    "point": (polygon([[1, 2]], ROI_TYPE.POINT), "0002-é.roi' is of the kind point", True),
    "line": (box(ROI_TYPE.LINE, x2=3.0), "of the kind line, which has no area", True),
    "polyline": (polygon(square(1, 2, 3, 4), ROI_TYPE.POLYLINE), "is of the kind polyline", True),
    "text": (
        box(ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT, text="cell", text_name="Arial"),
        "is of the kind text, which has no area", True,
    ),
    "two points": (polygon([[1, 2], [3, 4]]), "is empty", True),
    "no area": (box(ROI_TYPE.RECT, 4, 4, 4, 9), "is empty", True),
    "no width, at the border": (box(ROI_TYPE.OVAL, 0, 0, 0, 9), "is empty", True),
    "outside": (polygon(square(100, 100, 110, 110)), "is empty", True),
    "curve": (
        ImagejRoi(
            roitype=ROI_TYPE.POLYGON, options=ROI_OPTIONS.SPLINE_FIT, n_coordinates=4,
            integer_coordinates=np.array(square(1, 1, 9, 9)),
        ).tobytes(),
        "Edit > Selection > Interpolate", False,
    ),
    "round corners": (
        box(ROI_TYPE.RECT, rounded_rect_arc_size=4), "a rectangle with round corners", False,
    ),
    "curved composite": (
        composite(square(2, 2, 16, 16), bend=True), "is a composite with curves", False,
    ),
    "damaged composite": (composite(square(2, 2, 16, 16))[:90], "damaged", False),
    "truncated": (ONE[:70], "0002-é.roi' is not an ROI of ImageJ, or damaged", False),
    "shorter": (ONE[:20], "too short", False),
    "no ROI": (b"text" * 100, "is not an ROI of ImageJ", False),
    "of no kind": (ONE[:6] + bytes([42]) + ONE[7:], "is of a kind that ImageJ has not", False),
    "not finite": (
        exact([[1, 2], [3, 4], [5, np.inf]]), "not a finite number", False,
    ),
    "huge": (exact([[1, 2], [3, 4], [5, 1e12]]), "far out of any image", False),
    "too large": (bytes(2**24 + 1), "holds '0002-é.roi', too large for a ROI", False),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROIS)
def test_bad_rois(tmp_path, case):
    bad, message, stays = BAD_ROIS[case]
    files = {"a.tif": TIF, "a.zip": zipped(ONE, bad)}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "folder"))
    (problem,) = problems.problems
    assert message in problem.reason and problem.item == "a.zip"
    scope = "object" if "empty" in message else "region"
    assert problem.scope == (scope if stays else "image")
    assert ("a" in samples) == stays
    if stays:
        (found,) = masks(samples["a"])
        assert (found == BOX).all()


@settings(max_examples=100)
@given(start=st.integers(0, 63), change=st.binary(min_size=1, max_size=8))
def test_damaged_bytes_never_end_in_a_traceback(tmp_path_factory, start, change):
    data = ONE[:start] + change + ONE[start + len(change) :]
    path = tmp_path_factory.mktemp("damaged")
    samples, problems = read(ImagejReader, write_source(path, {"a.tif": TIF, "a.roi": data}, "zip"))
    # one object, or one reason why not
    assert sum(len(sample.masks) for sample in samples.values()) + len(problems) == 1


# what is done to image b, the item and the reason
BAD = {
    "truncated": ({"b.zip": GOOD[:-40]}, "b.zip", "is not a zip of ROIs, or damaged"),
    "empty file": ({"b.zip": b""}, "b.zip", "is not a zip of ROIs"),
    "no zip": ({"b.zip": b"text"}, "b.zip", "is not a zip of ROIs"),
    "no ROIs": ({"b.zip": zipped(**{"b.png": IMAGE})}, "b.zip", "holds no .roi files"),
    "changed bytes": ({"b.zip": GOOD[:60] + b"####" + GOOD[64:]}, "b.zip", "damaged"),
    "damaged ROI": ({"b.zip": None, "b.roi": ONE[:50]}, "b.roi", "the ROI is not an ROI of ImageJ"),
    "large ROI": ({"b.zip": None, "b.roi": bytes(2**24 + 1)}, "b.roi", "is too large"),
    "truncated image": ({"b.tif": TIF[:100]}, "b.tif", ""),
    "no image": ({"b.tif": None}, "b.zip", "no image of this name lies beside it"),
    "no ROIs file": ({"b.zip": None}, "b.tif", "has no annotation file beside it"),
    "two files": ({"b_rois.zip": GOOD}, "b.tif", "b.zip and b_rois.zip; keep one"),
    "two images": ({"b.png": IMAGE}, "b.zip", "fits b.png and b.tif"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, kind, case):
    changes, item, message = BAD[case]
    files = {"a.tif": TIF, "a.zip": GOOD, "b.tif": TIF, "b.zip": GOOD, **changes}
    files = {name: data for name, data in files.items() if data is not None}
    path = write_source(tmp_path, files, kind)
    samples, problems = read(ImagejReader, path)
    assert list(samples) == ["a"] and len(samples["a"].masks) == 2
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == ("image", item)
    assert message in problem.reason and problem.reason
    problems.skip_bad = False
    with pytest.raises(DataError, match="--skip-bad") as error:
        problems.raise_unless_skipped(path)
    assert item in str(error.value)


def test_a_roi_set_of_several_images(tmp_path):
    files = {"a.tif": TIF, "a.zip": GOOD, "x/b.tif": TIF, "x/c.tif": TIF, "x/RoiSet.zip": GOOD}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "folder"))
    assert list(samples) == ["a"]
    assert {p.item for p in problems.problems} == {"x/RoiSet.zip", "x/b.tif", "x/c.tif"}


def test_roifile_that_is_not_installed_is_named(tmp_path, monkeypatch):
    path = write_source(tmp_path, {"a.tif": TIF, "a.zip": GOOD}, "folder")
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(DataError, match=r"need roifile: pip install 'maskrcnnpp\[outlines\]'"):
        ImagejReader(path, ProblemLog())
