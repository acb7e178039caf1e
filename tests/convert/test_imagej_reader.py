"""ROIs of ImageJ, written with roifile, and this project's own."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.draw
from dsb2018_source import write_source
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from imagej_source import BOX, GOOD, ONE, TIF, box, composite, exact_box, polygon, zipped
from outline_sources import (
    HEIGHT,
    IMAGE,
    WIDTH,
    box_mask,
    differs_at_most_at_the_edge,
    masks,
    read,
    square,
    written,
)
from roifile import ROI_TYPE
from scipy import ndimage

from maskrcnnpp.convert.readers.imagej import ImagejReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.inference.writers.rois import write_rois


def test_good_source(tmp_path, kind):
    """Folders and archives: zips inside a zip."""
    files = {
        "a.tif": TIF,
        "a.zip": GOOD,
        "b.tif": TIF,
        "b_rois.zip": GOOD,
        "c.png": IMAGE,
        "c.png.rois.zip": GOOD,
        "d ü.tif": TIF,
        "RoiSet_d ü.zip": GOOD,
        "e.tif": TIF,
        "e_RoiSet.zip": zipped(),
        "f.tif": TIF,
        "f.roi": ONE,
        "g.tif": TIF,
        "g.rois.zip": GOOD,
        "h/RoiSet.zip": GOOD,
        "h/image.tif": TIF,
        "c.png.overlay.png": IMAGE,
        "__MACOSX/._a.zip": b"x",
    }
    path = write_source(tmp_path, files, kind)
    samples, problems = read(ImagejReader, path)
    assert problems.lines() == ""
    assert {name: len(s.masks) for name, s in samples.items()} == {
        "a": 2, "b": 2, "c": 2, "d ü": 2, "e": 0, "f": 1, "g": 2, "h__image": 2,
    }  # fmt: skip
    for name, sample in samples.items():
        assert sample.image == (IMAGE if name == "c" else TIF)
        assert (sample.height, sample.width, sample.stain) == (30, 40, "fluorescence")
        assert sample.category_ids == (1,) * len(sample.masks)
        for found, expected in zip(masks(sample), [BOX, box_mask(10, 20, 30, 25)]):
            assert (found == expected).all()
    assert read(ImagejReader, path, workers=2)[0] == samples


def test_which_sources_it_fits():
    assert ImagejReader.fits(["x/a.tif", "x/a.zip"])
    assert ImagejReader.fits(["a.tif", "RoiSet.zip"])
    assert not ImagejReader.fits(["a.tif", "b.tif", "RoiSet.zip"])
    assert not ImagejReader.fits(["a.tif", "b.zip"])
    assert not ImagejReader.fits(["a.tif", "x/a.zip"])
    assert not LabelsReader.fits(["a.tif", "a_rois.zip", "a.tif.rois.zip"])


CROPS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans())


@settings(max_examples=60)
@given(pixels=st.lists(CROPS, max_size=4))
def test_what_this_project_writes_is_read_to_the_pixel(tmp_path_factory, pixels):
    pixels = [ndimage.binary_fill_holes(crop) for crop in pixels]
    numbered = [ndimage.label(crop)[0] == 1 for crop in pixels]  # the first part of each
    pixels = [ndimage.binary_fill_holes(crop) for crop in numbered if crop.any()]
    folder = tmp_path_factory.mktemp("round")
    (folder / "a.png").write_bytes(IMAGE)
    expected = written(write_rois, folder / "a.png.rois.zip", pixels)
    samples, problems = read(ImagejReader, folder)
    assert not problems
    found = masks(samples["a"])
    assert len(found) == len(expected)
    assert all((one == other).all() for one, other in zip(found, expected))


@pytest.mark.parametrize("kind", [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
@pytest.mark.parametrize("kind_of_numbers", [int, float])
def test_outlines(tmp_path, kind, kind_of_numbers):
    points = np.array([[5.3, 4.8], [30.2, 8.1], [33.7, 21.4], [18.2, 16.9], [7.5, 25.6]])
    points = points.astype(kind_of_numbers)
    files = {"a.tif": TIF, "a.roi": polygon(points, kind)}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "zip"))
    expected = skimage.draw.polygon2mask((HEIGHT, WIDTH), points[:, ::-1] - 0.5)
    assert differs_at_most_at_the_edge(masks(samples["a"])[0], expected) and not problems


def test_fractions_of_pixels_count(tmp_path):
    """The whole numbers beside them would give another mask."""
    ring = np.array(square(2.45, 3.0, 10.0, 8.0)) + 0.3
    files = {"a.tif": TIF, "a.zip": zipped(polygon(ring), polygon(ring + 0.4))}
    samples, _ = read(ImagejReader, write_source(tmp_path, files, "zip"))
    first, second = masks(samples["a"])
    assert (first == box_mask(3, 3, 8, 10)).all() and (second == box_mask(4, 3, 9, 11)).all()


# an oval that is thinner than a rounding error has no pixels, or a line of them
SIDES = st.just(0.0) | st.floats(2**-10, 15, width=32)


@settings(max_examples=50)
@given(
    x=st.floats(-3, WIDTH, width=32), y=st.floats(-3, HEIGHT, width=32),
    width=SIDES, height=SIDES, whole=st.booleans(),
)  # fmt: skip
def test_ovals(tmp_path_factory, x, y, width, height, whole):
    if whole:
        x, y, width, height = (round(value) for value in (x, y, width, height))
        roi = box(ROI_TYPE.OVAL, x, y, x + width, y + height)
    else:
        roi = exact_box(ROI_TYPE.OVAL, x, y, width, height)
    files = {"a.tif": TIF, "a.roi": roi}
    samples, _ = read(ImagejReader, write_source(tmp_path_factory.mktemp("oval"), files, "zip"))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    if min(width, height) > 0:
        far = ((columns - x) * 2 / width - 1) ** 2 + ((rows - y) * 2 / height - 1) ** 2
    else:
        far = np.full((HEIGHT, WIDTH), 9.0)
    found = masks(samples["a"])
    found = found[0] if found else np.zeros((HEIGHT, WIDTH), bool)
    assert found[far < 0.999].all() and not found[far > 1.001].any()


def test_rectangles(tmp_path):
    rois = zipped(box(ROI_TYPE.RECT), exact_box(ROI_TYPE.RECT, 2.7, 3.2, 7.0, 5.0))
    files = {"a.tif": TIF, "a.zip": rois}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "zip"))
    first, second = masks(samples["a"])
    assert (first == BOX).all() and (second == box_mask(3, 3, 8, 10)).all() and not problems


def test_composites(tmp_path):
    """With a hole, an island in it, and a part apart."""
    rings = [square(2, 2, 16, 16), square(4, 4, 14, 14), square(6, 6, 8, 8), square(20, 2, 25, 9)]
    files = {"a.tif": TIF, "a.roi": composite(*rings)}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "zip"))
    expected = box_mask(2, 2, 16, 16) & ~box_mask(4, 4, 14, 14)
    expected |= box_mask(6, 6, 8, 8) | box_mask(2, 20, 9, 25)
    assert (masks(samples["a"])[0] == expected).all() and not problems


def test_positions_in_a_stack_are_no_matter(tmp_path):
    files = {"a.tif": TIF, "a.roi": polygon(square(2, 3, 10, 8), position=7, c=1, z=4, t=2)}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "zip"))
    assert (masks(samples["a"])[0] == BOX).all() and not problems


def test_only_rois_of_a_zip_count(tmp_path):
    others = {"notes.txt": b"x", "__MACOSX/._1.roi": b"x", "x/y.ROI": ONE}
    files = {"a.tif": TIF, "a.zip": zipped(ONE, **others)}
    samples, problems = read(ImagejReader, write_source(tmp_path, files, "zip"))
    assert len(samples["a"].masks) == 2 and not problems
