"""The reader of ImageScope outlines, on good and on bad sources."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dsb2018_source import png, write_source
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from skimage.measure import points_in_poly

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.hovernet import HovernetReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.convert.readers.monuseg import MonusegReader, _mask, _regions
from maskrcnnpp.errors import DataError

HEIGHT, WIDTH = 20, 30
PIXELS = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
PIXELS[..., 1] //= 2


def tif(pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels)
    return file.getvalue()


def box(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def region(points, number="1", negative="0") -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return (
        f'<Region Id="{number}" Type="0" Zoom="0.5" NegativeROA="{negative}"><Attributes/>'
        f"<Vertices>{vertices}</Vertices></Region>"
    )


def xml(*regions: str, layers: int = 1) -> bytes:
    """As ImageScope writes it."""
    layer = (
        '<Annotation Id="1" Name="" ReadOnly="0" LineColor="65280" Visible="1"><Attributes>'
        '<Attribute Name="Description" Id="0" Value=""/></Attributes><Regions>'
        '<RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/>'
        f"</RegionAttributeHeaders>{''.join(regions)}</Regions><Plots/></Annotation>"
    )
    return f'<Annotations MicronsPerPixel="0.252000">{layer * layers}</Annotations>'.encode()


TWO = xml(region(box(2, 3, 8, 7), "1"), region(box(10, 0, 30, 20), "2"))


def good_files(top: str = "") -> dict[str, bytes]:
    return {
        f"{top}Tissue Images/TCGA-18-5592-01Z.tif": tif(),
        f"{top}Tissue Images/b.png": png(PIXELS),
        f"{top}Annotations/TCGA-18-5592-01Z.xml": TWO,
        f"{top}Annotations/b.xml": TWO,
    }


def read(source: Path, workers: int = 0):
    problems = ProblemLog(skip_bad=True)
    return list(MonusegReader(source, problems).read(workers=workers)), problems


def pixels_of(rle) -> np.ndarray:
    return coco_mask.decode(rle).astype(bool)


@pytest.mark.parametrize("top", ["", "MoNuSeg 2018 Training Data/"])
def test_good_source(tmp_path, kind, top):
    files = good_files(top) | {f"{top}readme.txt": b"x", "__MACOSX/._b.xml": b"x"}
    source = write_source(tmp_path, files, kind)
    samples, problems = read(source)
    assert not problems
    prefix = top.replace("/", "__")
    assert [sample.name for sample in samples] == [f"{prefix}TCGA-18-5592-01Z", f"{prefix}b"]
    assert [sample.suffix for sample in samples] == [".tif", ".png"]
    assert samples[0].image == tif()
    for sample in samples:
        assert (sample.height, sample.width, sample.stain) == (HEIGHT, WIDTH, "histology")
        assert sample.category_ids == (1, 1)
        expected = np.zeros((2, HEIGHT, WIDTH), bool)
        expected[0, 3:7, 2:8] = True
        expected[1, :, 10:] = True
        assert (np.stack([pixels_of(mask) for mask in sample.masks]) == expected).all()
    assert read(source, workers=2)[0] == samples


@pytest.mark.parametrize(
    ("image", "annotation", "name"),
    [
        ("a.tif", "a.xml", "a"),
        ("Kernbild ä 1.png", "Kernbild ä 1.xml", "Kernbild ä 1"),
        ("images/a.jpg", "a.xml", "a"),
        ("x/a.png", "x/Annotations/a.xml", "x__a"),
        ("x/Tiles/a.png", "x/a.xml", "x__Tiles__a"),
        ("x/a.b.TIFF", "x/a.b.XML", "x__a.b"),
        ("data/Images/a.png", "data/Any Folder/a.xml", "data__a"),
        ("data/Something/a.png", "data/Any Folder/a.xml", "data__Something__a"),
    ],
)
def test_places_of_files(tmp_path, kind, image, annotation, name):
    data = png(PIXELS)
    if image.lower().endswith((".tif", ".tiff")):
        data = tif()
    files = {image: data, annotation: TWO, "other/note.txt": b""}
    (sample,), problems = read(write_source(tmp_path, files, kind))
    assert (sample.name, len(sample.masks), len(problems)) == (name, 2, 0)
    assert MonusegReader.fits(list(files))
    assert not HovernetReader.fits(list(files)) and not LabelsReader.fits(list(files))


def test_an_overlay_is_not_the_image(tmp_path, kind):
    files = {"Overlay/b.png": png(PIXELS // 2), "Overlay/c.png": b""} | good_files()
    samples, problems = read(write_source(tmp_path, files, kind))
    assert len(samples) == 2 and not problems
    assert samples[1].image == png(PIXELS)


@given(
    st.lists(
        st.tuples(
            st.integers(-20, 30), st.integers(-20, 20), st.integers(1, 40), st.integers(1, 30)
        ).map(lambda b: (b[0], b[1], min(b[0] + b[2], 60), min(b[1] + b[3], 40))),
        max_size=5,
    )
)
def test_rectangles_of_whole_pixels_are_exact(boxes):
    content = xml(*(region(box(*edges), str(n)) for n, edges in enumerate(boxes)))
    regions = list(_regions(content))
    assert [found.id for found in regions] == [str(n) for n in range(len(boxes))]
    for found, (left, top, right, bottom) in zip(regions, boxes):
        expected = np.zeros((HEIGHT, WIDTH), bool)
        expected[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
        if expected.any():
            assert (pixels_of(_mask(found, HEIGHT, WIDTH)) == expected).all()
        else:
            with pytest.raises(ValueError, match="outside"):
                _mask(found, HEIGHT, WIDTH)


@given(
    st.lists(
        st.tuples(st.floats(-5, 35), st.floats(-5, 25)).map(lambda p: (round(p[0], 3), p[1])),
        min_size=3,
        max_size=8,
    )
)
def test_any_polygon_is_filled_or_refused(points):
    """Self-crossing ones too; only pixels that the outline touches are a matter of taste."""
    (found,) = _regions(xml(region(points)))
    try:
        filled = pixels_of(_mask(found, HEIGHT, WIDTH))
    except ValueError as error:
        assert "pixel" in str(error)
        filled = np.zeros((HEIGHT, WIDTH), bool)
    centres = np.stack(np.mgrid[:HEIGHT, :WIDTH], axis=-1)[..., ::-1].reshape(-1, 2) + 0.5
    ring = np.array([*points, points[0]])
    starts, steps = ring[:-1], np.diff(ring, axis=0)
    length = np.maximum((steps**2).sum(axis=1), 1e-12)
    along = ((centres[:, None] - starts) * steps).sum(axis=2) / length
    nearest = starts + np.clip(along, 0, 1)[..., None] * steps
    distance = np.sqrt(((centres[:, None] - nearest) ** 2).sum(axis=2)).min(axis=1)
    clear = distance > 1
    inside = points_in_poly(centres, np.array(points))
    assert (filled.ravel() == inside)[clear].all()


def test_no_regions_is_an_image_without_objects(tmp_path):
    (sample,), problems = read(
        write_source(tmp_path, {"a.png": png(PIXELS), "a.xml": xml()}, "zip")
    )
    assert sample.masks == () and not problems


def test_regions_of_all_layers(tmp_path):
    content = xml(region(box(2, 3, 8, 7)), layers=3)
    (sample,), _ = read(write_source(tmp_path, {"a.png": png(PIXELS), "a.xml": content}, "zip"))
    assert len(sample.masks) == 3


BAD_REGIONS = {
    "two vertices": (region([(1, 1), (5, 5)], "17"), "region 17: has 2 vertices"),
    "no vertex": (region([], "17"), "region 17: has 0 vertices"),
    "outside": (region(box(40, 3, 45, 8), "17"), "region 17: lies outside the image of 30x20"),
    "above": (region(box(4, -9, 9, 0), "17"), "region 17: lies outside"),
    "no pixel": (region([(3.5, 3.5)] * 4, "17"), "region 17: holds no pixel"),
    "a line": (region([(3, 3), (9, 3), (5, 3)], "17"), "region 17: holds no pixel"),
    "far": (region(box(0, 0, 1e9, 5), "17"), "region 17: reaches far outside"),
    "not finite": (
        region([(1, 1), ("nan", 3), (3, 3)], "17"),
        "region 17: has a vertex whose X and Y",
    ),
    "infinite": (
        region([(1, 1), ("1e999", 3), (3, 3)], "17"),
        "region 17: has a vertex whose X and Y",
    ),
    "no number": (region([(1, 1), ("3,5", 3), (3, 3)], "17"), "region 17: has a vertex whose X"),
    "no X": (region(box(1, 1, 5, 5), "17").replace("X=", "Q="), "region 17: has a vertex whose X"),
    "negative": (region(box(1, 1, 5, 5), "17", "1"), "region 17: is negative"),
    "no Id": (region(box(40, 3, 45, 8), "17").replace("Id=", "Q="), "region number 2: lies out"),
}


@pytest.mark.parametrize("case", BAD_REGIONS)
def test_a_bad_region_is_left_out_alone(tmp_path, case):
    bad, message = BAD_REGIONS[case]
    content = xml(region(box(2, 3, 8, 7), "1"), bad, region(box(10, 0, 30, 20), "2"))
    files = {"a.png": png(PIXELS), "a.xml": content}
    (sample,), problems = read(write_source(tmp_path, files, "zip"))
    assert [coco_mask.toBbox(mask).tolist() for mask in sample.masks] == [
        [2, 3, 6, 4],
        [10, 0, 20, 20],
    ]
    (problem,) = problems.problems
    assert (problem.scope, problem.image, problem.item) == ("object", "a", "a.xml")
    assert problem.reason.startswith(message)


DOCTYPE = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'

# what is done to a.xml or its image, what is told
BAD_FILES = {
    "cut short": ({"a.xml": TWO[:-30]}, "a.xml: is not an XML file, or cut short"),
    "empty": ({"a.xml": b""}, "a.xml: is not an XML file"),
    "no XML": ({"a.xml": b"\x89PNG\r\n"}, "a.xml: is not an XML file"),
    "odd encoding": (
        {"a.xml": b'<?xml version="1.0" encoding="none"?><a/>'},
        "a.xml: is not an XML file",
    ),
    "other XML": ({"a.xml": b"<annotation/>"}, "a.xml: is not of ImageScope: begins with <annota"),
    "doctype": ({"a.xml": DOCTYPE + TWO}, "a.xml: has a DOCTYPE"),
    "doctype in UTF-16": ({"a.xml": (DOCTYPE + TWO).decode().encode("utf-16")}, "a DOCTYPE"),
    "image cut short": ({"a.png": png(PIXELS)[:300]}, "a.png: "),
    "no image": ({"a.png": b"text"}, "a.png: cannot be read"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file(tmp_path, kind, case):
    change, message = BAD_FILES[case]
    files = {"a.png": png(PIXELS), "a.xml": TWO, "b.png": png(PIXELS), "b.xml": TWO} | change
    samples, problems = read(write_source(tmp_path, files, kind))
    assert [sample.name for sample in samples] == ["b"]
    (problem,) = problems.problems
    assert (problem.scope, problem.image) == ("image", "a")
    assert message in f"{problem.item}: {problem.reason}"


BAD_SOURCES = {
    "no image": ({"c.xml": TWO}, "image", "c.xml", "has no image; put c.tif"),
    "no annotation": ({"c.png": png(PIXELS)}, "file", "c.png", "has no annotation c.xml"),
    "two images": ({"a.tif": tif()}, "image", "a.xml", "several images, a.png and a.tif; keep"),
    "two annotations": ({"x/a.xml": TWO}, "image", "x/a.xml", "the same image as a.xml"),
    "same image": ({"a.XML": TWO}, "image", "a.xml", "is of the same image as a.XML; keep one"),
    "no file name": (
        {"ab:/c.png": png(PIXELS), "ab:/c.xml": TWO}, "image", "ab:/c.png", "cannot be a file name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_files_that_do_not_belong_together(tmp_path, kind, case):
    more, scope, item, reason = BAD_SOURCES[case]
    files = {"a.png": png(PIXELS), "a.xml": TWO, "b.png": png(PIXELS), "b.xml": TWO} | more
    samples, problems = read(write_source(tmp_path, files, kind))
    assert "b" in [sample.name for sample in samples]
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == (scope, item) and reason in problem.reason
    problems.skip_bad = False
    with pytest.raises(DataError, match="--skip-bad"):
        problems.raise_unless_skipped("source")


def test_names_that_clash(tmp_path, kind):
    files = {name: png(PIXELS) if name.endswith("png") else TWO for name in (
        "x/y.png", "x/y.xml", "x__y.png", "x__y.xml",
    )}  # fmt: skip
    samples, problems = read(write_source(tmp_path, files, kind))
    assert [sample.name for sample in samples] == ["x__y"]
    assert "two images would be called x__y" in problems.lines()
