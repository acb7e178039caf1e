"""Files that other programs wrote; see the licences beside them in tests/files."""

import json
import shutil
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import tifffile
from dsb2018_source import png, write_source
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.convert import open_reader
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.images import image_kind, open_image

FILES = Path("tests/files")
GREY = png(np.full((256, 256), 50, np.uint8))
WITHOUT_AREA = ("line1", "freeline", "multipoint", "point", "polyline")


def read(source, layout, **options):
    problems = ProblemLog(skip_bad=True)
    reader = open_reader(layout, source, problems, options)
    return list(reader.read(workers=0)), problems


def expected_area(roi):
    """Of what read-roi says of its files."""
    if roi["type"] == "polygon":
        x, y = np.array(roi["x"]), np.array(roi["y"])
        return abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    part = 1 if roi["type"] == "rectangle" else np.pi / 4
    return part * roi["width"] * roi["height"]


@pytest.mark.parametrize("file", sorted((FILES / "read-roi").glob("*.roi")), ids=lambda p: p.stem)
def test_rois_of_imagej(tmp_path, file):
    source = write_source(tmp_path, {"a.png": GREY, "a.roi": file.read_bytes()}, "zip")
    samples, problems = read(source, "imagej")
    if file.stem in WITHOUT_AREA:
        assert samples[0].masks == ()
        assert [problem.scope for problem in problems.problems] == ["region"]
        return
    assert not problems
    (mask,) = samples[0].masks
    described = file.with_suffix(".json")
    if described.exists():
        (roi,) = json.loads(described.read_text()).values()
        assert int(coco_mask.area(mask)) == pytest.approx(expected_area(roi), rel=0.03)


def test_shapes_of_pycococreator(tmp_path):
    folder = FILES / "pycococreator"
    files = {path.name: path.read_bytes() for path in folder.glob("100*")}
    source = write_source(tmp_path, files, "zip")
    name = "1001_square_1"
    (tmp_path / "list.csv").write_text(f"image,labels\n1001.jpeg,{name}.png\n")
    (sample,), problems = read(source, "binary", pairs=tmp_path / "list.csv")
    assert not problems
    (mask,) = sample.masks
    drawn = np.asarray(Image.open(folder / f"{name}.png").convert("L")) > 0
    assert (coco_mask.decode(mask) == drawn).all()


@pytest.mark.parametrize("suffix", ["json", "xml"])
def test_a_whole_slide_is_not_its_thumbnail(tmp_path, suffix):
    (file,) = (FILES / "wsi_handling").glob(f"*.{suffix}")
    files = {"images/a.png": GREY, "images/a.json" if suffix == "json" else "labels/a.xml": b""}
    files = {name: data or file.read_bytes() for name, data in files.items()}
    source = write_source(tmp_path, files, "zip")
    samples, problems = read(source, "geojson" if suffix == "json" else "monuseg")
    assert not samples or not samples[0].masks
    assert "outside the image" in problems.lines() or "no pixel in" in problems.lines()


def test_labels_of_nucls_by_cellvit(tmp_path):
    with ZipFile(FILES / "cellvit" / "test_4.npy.zip") as archive:
        labels = archive.read("test_4.npy")
    source = write_source(tmp_path, {"images/a.png": GREY, "labels/a.npy": labels}, "zip")
    samples, problems = read(source, "auto")
    assert not samples
    assert "holds objects of Python, not an array of numbers" in problems.lines()
    # the same content under Cellpose's name has other keys
    files = {"a.png": GREY, "a_seg.npy": labels}
    (tmp_path / "b").mkdir()
    _, problems = read(write_source(tmp_path / "b", files, "zip"), "auto")
    assert 'has no array "masks"' in problems.lines()


def test_stardists_example_pair(tmp_path):
    for folder, file in (("images", "stardist_image.tif"), ("masks", "stardist_labels.tif")):
        (tmp_path / folder).mkdir()
        shutil.copy(FILES / file, tmp_path / folder / "a.tif")
    problems = ProblemLog()
    (sample,) = LabelsReader(tmp_path, problems).read(workers=0)
    labels = tifffile.imread(FILES / "stardist_labels.tif")
    numbers = [number for number in np.unique(labels) if number]
    assert not problems and len(sample.masks) == len(numbers) == 7
    for number, mask in zip(numbers, sample.masks):
        assert (coco_mask.decode(mask).astype(bool) == (labels == number)).all()
    # 16 bits under any name, of which 8 would hold these numbers too
    for ending in ("tif", "lsm", "png"):
        shutil.copy(FILES / "stardist_image.tif", tmp_path / f"a.{ending}")
        assert image_kind(tmp_path / f"a.{ending}").dtype == "uint16"
        with open_image(tmp_path / f"a.{ending}") as raster:
            pixels = raster.whole()
        assert (pixels.dtype, pixels.max()) == (np.uint16, 79)
