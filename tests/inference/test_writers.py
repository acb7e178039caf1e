"""Each format, read back by the library that its users have."""

import csv
import json
import sys
import zipfile

import numpy as np
import pytest
import shapely
import shapely.geometry
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from roifile import ImagejRoi, roiread

from maskrcnnpp.errors import UserError
from maskrcnnpp.images import ArrayRaster
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.outlines import outline
from maskrcnnpp.visualization import PALETTE

RING = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=bool)
APART = np.array([[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)


def detection(pixels, top, left, score, category=0):
    height, width = pixels.shape
    box = (left, top, left + width, top + height)
    return Detection(box, score, category, pixels, top, left)


@pytest.fixture
def objects():
    found = [
        detection(RING, 2, 3, 0.9),
        detection(np.ones((3, 3), dtype=bool), 4, 5, 0.8, category=1),  # overlaps the ring
        detection(APART, 10, 12, 0.7),
        detection(np.ones((1, 1), dtype=bool), 19, 23, 0.6),  # one pixel, at the corner
    ]
    return Objects(found, 20, 24)


@pytest.fixture
def info():
    pixels = np.arange(20 * 24 * 2, dtype=np.uint16).reshape(20, 24, 2)
    naming = Naming(["nucleus", "cell"], [1, 7])
    return Info("a.tif", ArrayRaster(pixels, micrometres=0.5), naming)


@pytest.fixture
def written(objects, info, tmp_path):
    def write(name):
        writer, ending, *_ = WRITERS[name]
        path = tmp_path / f"a{ending}"
        writer(objects, info, path)
        assert list(tmp_path.iterdir()) == [path]
        return path

    return write


def test_coco(written, objects, tmp_path):
    results = json.loads(written("coco").read_text())
    truth = COCO()
    truth.dataset = {
        "images": [{"id": "a.tif", "height": 20, "width": 24}],
        "categories": [{"id": 1, "name": "nucleus"}, {"id": 7, "name": "cell"}],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes(results)
    assert [a["category_id"] for a in loaded.loadAnns(loaded.getAnnIds())] == [1, 7, 1, 1]
    assert coco_mask.area([r["segmentation"] for r in results]).tolist() == [10, 9, 5, 1]


def test_labels(written, objects):
    labels = tifffile.imread(written("labels"))
    assert labels.dtype == np.uint16 and labels.shape == (20, 24)
    assert (labels == objects.labels()).all()
    assert labels[4, 5] == 1 and labels[5, 5] == 2  # the ring has the higher score
    assert np.bincount(labels.ravel()).tolist() == [480 - 23, 10, 7, 5, 1]


def test_large_labels_are_tiled(info, tmp_path, monkeypatch):
    found = [detection(RING, 510, 510, 0.9), detection(np.ones((4, 5), dtype=bool), 4092, 595, 0.8)]
    objects = Objects(found, 4096, 600)
    for big in (False, True):
        if big:
            monkeypatch.setattr("maskrcnnpp.inference.writers.label_image._BIG", 0)
        WRITERS["labels"].write(objects, info, tmp_path / "a.tif")
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert file.pages[0].is_tiled and file.is_bigtiff == big
            assert (file.asarray() == objects.labels()).all()
        assert (tmp_path / "a.tif").stat().st_size < 100_000


def test_many_labels_have_32_bits():
    one = detection(np.ones((1, 1), dtype=bool), 0, 0, 0.5)
    assert Objects([one] * 2**16, 1, 1).labels().dtype == np.uint32


def test_geojson(written, objects):
    content = json.loads(written("geojson").read_text())
    assert content["type"] == "FeatureCollection"
    shapes = [shapely.geometry.shape(f["geometry"]) for f in content["features"]]
    assert [s.area for s in shapes] == [10, 9, 5, 1] and all(s.is_valid for s in shapes)
    assert shapes[0].bounds == (3, 2, 7, 5)
    assert len(shapes[0].interiors) == 1 and shapes[2].geom_type == "MultiPolygon"
    properties = [f["properties"] for f in content["features"]]
    assert [p["classification"]["name"] for p in properties] == ["nucleus", "cell"] + [
        "nucleus"
    ] * 2
    assert properties[0]["measurements"]["score"] == 0.9
    assert {p["objectType"] for p in properties} == {"detection"}


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_outlines_are_the_mask_to_the_pixel(pixels):
    pixels[0, 0] = True
    shape = outline(detection(pixels, 5, 7, 1.0))
    assert shape.area == pixels.sum() and shape.is_valid
    rows, columns = np.nonzero(np.ones_like(pixels))
    inside = shapely.contains_xy(shape, columns + 7.5, rows + 5.5)
    assert (inside.reshape(pixels.shape) == pixels).all()


def test_rois(written):
    rois = roiread(written("rois"))
    assert [roi.name for roi in rois] == ["000001", "000002", "000003", "000004"]
    areas = [shapely.Polygon(roi.coordinates()).area for roi in rois]
    assert areas == [12, 9, 4, 1]  # without holes, the largest part
    assert (rois[0].left, rois[0].top) == (3, 2)
    assert all(isinstance(roi, ImagejRoi) for roi in rois)


def test_csv(written):
    rows = list(csv.DictReader(written("csv").read_text().splitlines()))
    assert [row.pop("class") for row in rows] == ["nucleus", "cell", "nucleus", "nucleus"]
    rows = [{name: float(value) for name, value in row.items()} for row in rows]
    column = {name: [row[name] for row in rows] for name in rows[0]}
    assert column["number"] == [1, 2, 3, 4] and column["area"] == [10, 9, 5, 1]
    assert column["area_um2"] == [2.5, 2.25, 1.25, 0.25]
    assert (rows[0]["x"], rows[0]["y"]) == (4.5, 3)
    assert [rows[3][name] for name in ("x", "y", "mean_0", "mean_1")] == [23, 19, 958, 959]
    assert rows[1]["solidity"] == 1 and rows[0]["solidity"] == pytest.approx(10 / 12)
    assert column["score"] == sorted(column["score"], reverse=True)


def test_overlay(written):
    image = np.asarray(Image.open(written("overlay")))
    assert image.shape == (20, 24, 3) and image.dtype == np.uint8
    drawn = {tuple(map(int, color)) for color in image.reshape(-1, 3)} & set(PALETTE)
    assert len(drawn) == 4  # an outline each
    assert tuple(image[19, 23]) == PALETTE[4] and tuple(image[2, 3]) == PALETTE[1]
    assert tuple(image[15, 2]) not in PALETTE


@pytest.mark.parametrize("name", [name for name, x in WRITERS.items() if not x.is_semantic])
def test_nothing_found_is_a_file_too(name, info, tmp_path):
    writer, ending, *_ = WRITERS[name]
    path = tmp_path / f"a{ending}"
    writer(Objects([], 20, 24), info, path)
    assert path.exists()
    if name == "rois":
        assert zipfile.ZipFile(path).namelist() == []
    if name == "csv":
        assert len(path.read_text().splitlines()) == 1  # the header
    if name == "coco":
        assert json.loads(path.read_text()) == []
    if name == "geojson":
        assert json.loads(path.read_text())["features"] == []


@pytest.mark.parametrize(("name", "module"), [("geojson", "shapely"), ("rois", "roifile")])
def test_what_is_not_installed_is_named(name, module, objects, info, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"{module}: pip install"):
        WRITERS[name].write(objects, info, tmp_path / "a")
    assert not list(tmp_path.iterdir())


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 45), st.data())
def test_labels_in_tiles_are_the_labels(height, width, side, data):
    found = []
    for _ in range(data.draw(st.integers(0, 5))):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        rows, columns = (
            data.draw(st.integers(1, height - top)),
            data.draw(st.integers(1, width - left)),
        )
        found.append(detection(np.ones((rows, columns), dtype=bool), top, left, 0.5))
    objects = Objects(found, height, width)
    tiles = list(objects.label_tiles(side))
    across = -(-width // side)
    rows = [np.hstack(tiles[k : k + across]) for k in range(0, len(tiles), across)]
    whole = np.vstack(rows)
    assert (whole[:height, :width] == objects.labels()).all()
    assert not whole[height:].any() and not whole[:, width:].any()
