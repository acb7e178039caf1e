"""EXIF: images are turned, and refused where annotations may be of either way."""

import io
import json

import numpy as np
import pytest
import tifffile
from coco_source import CocoReader, annotation, truth_of, write_images
from detectron2.data import detection_utils
from dsb2018_source import good_files, png, write_source
from PIL import Image

from maskrcnnpp.check.validation.files import file_size
from maskrcnnpp.convert.export import EXPORTS
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.binary import BinaryReader
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.convert.semantic.source import read_source
from maskrcnnpp.data.semantic import LABEL_FILE, read_labels
from maskrcnnpp.errors import DataError
from maskrcnnpp.images import open_image

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 16, 3), dtype=np.uint8)
LABELS = np.zeros((12, 16), np.uint8)
LABELS[1:4, 2:6], LABELS[8:12, 10:13] = 1, 2
REFUSED = "is to be turned or mirrored .* without the tag"


def turned(pixels: np.ndarray, orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(pixels).save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_training_and_prediction_see_the_same(tmp_path, orientation, kind):
    (tmp_path / "a.dat").write_bytes(turned(PIXELS, orientation, kind))
    with open_image(tmp_path / "a.dat") as raster:
        found = raster.whole()
    assert (found == detection_utils.read_image(str(tmp_path / "a.dat"), "RGB")).all()
    assert file_size(tmp_path, "a.dat") == found.shape[:2]


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("which", ["image", "labels"])
@pytest.mark.parametrize("reader", [LabelsReader, BinaryReader])
def test_pairs_of_which_one_is_to_be_turned_are_refused(tmp_path, orientation, which, reader):
    labels = LABELS if reader is LabelsReader else (LABELS > 0).astype(np.uint8)
    files = {"images/a.png": png(PIXELS), "labels/a.png": png(labels)}
    name, pixels = ("images/a.png", PIXELS) if which == "image" else ("labels/a.png", labels)
    files[name] = turned(pixels, orientation)
    problems = ProblemLog()
    source = write_source(tmp_path, files, "folder")
    assert not list(reader(source, problems).read(workers=0))
    with pytest.raises(DataError, match=f"{name}: {REFUSED}"):
        problems.raise_unless_skipped(source)


@pytest.mark.parametrize("name", ["a/images/a.png", "a/masks/0.png"])
def test_dsb2018_images_and_masks_that_are_to_be_turned(tmp_path, name):
    files = good_files("a")
    name = next(file for file in files if file.startswith(name[:8]))
    files[name] = turned(np.asarray(Image.open(io.BytesIO(files[name]))), 3)
    problems = ProblemLog()
    source = write_source(tmp_path, files, "folder")
    assert not list(Dsb2018Reader(source, problems).read(workers=0))
    with pytest.raises(DataError, match=f"{name}: .*{REFUSED}"):
        problems.raise_unless_skipped(source)


def test_a_coco_file_is_of_the_turned_image(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 16, "width": 12}],
        "annotations": [annotation(1, 1, [[2, 1, 6, 1, 6, 4, 2, 4]])],
        "categories": [{"id": 7, "name": "cell"}],
    }
    files = {"a.png": turned(PIXELS, 6), "a.json": json.dumps(content).encode()}
    problems = ProblemLog()
    (sample,) = CocoReader(write_source(tmp_path, files, "folder"), problems).read(workers=0)
    assert (sample.height, sample.width) == (16, 12) and not problems


def test_export_is_of_what_other_programs_see(tmp_path):
    truth = truth_of({"a.png": np.ones((1, 12, 16), bool)})
    folder = write_images(tmp_path / "images", truth)
    (folder / "a.png").write_bytes(turned(PIXELS, 3))
    for name, export in EXPORTS.items():
        with pytest.raises(DataError, match=f"a.png {REFUSED}"):
            export(truth, folder, tmp_path / name)
    (folder / "a.png").write_bytes(png(PIXELS.swapaxes(0, 1)))
    for name, export in EXPORTS.items():
        words = "a.png has 12x16 pixels, and the annotation file says 16x12.* --images"
        with pytest.raises(DataError, match=words):
            export(truth, folder, tmp_path / name)


@pytest.mark.parametrize("palette", [False, True])
def test_semantic_sources(tmp_path, palette):
    for which in ("images", "labels"):
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "a.png").write_bytes(png(LABELS))
        picture = Image.fromarray(LABELS)
        if palette and which == "labels":
            picture = picture.convert("P")
        exif = Image.Exif()
        exif[274] = 3
        picture.save(tmp_path / which / "a.png", exif=exif)
        with pytest.raises(DataError, match=rf"{which}/a.png {REFUSED}"):
            list(read_source(tmp_path / "images", tmp_path / "labels"))


def test_label_images_of_a_semantic_data_set_turn_with_their_images(tmp_path):
    (tmp_path / "labels.png").write_bytes(turned(LABELS, 6))
    record = {LABEL_FILE: str(tmp_path / "labels.png"), "file_name": "a.jpg"}
    found = read_labels({**record, "height": 16, "width": 12})
    assert (found == np.rot90(LABELS, -1)).all()


def test_a_tiff_of_labels_that_is_to_be_turned(tmp_path):
    file = io.BytesIO()
    tifffile.imwrite(file, LABELS, extratags=[(274, "H", 1, 3, True)])
    problems = ProblemLog()
    files = {"images/a.png": png(PIXELS), "labels/a.tif": file.getvalue()}
    assert not list(LabelsReader(write_source(tmp_path, files, "folder"), problems).read(workers=0))
    assert "is to be turned" in problems.summary()
