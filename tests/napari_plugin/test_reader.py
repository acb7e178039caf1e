"""Only label images of this project are claimed."""

import json

import numpy as np
import pytest
import tifffile

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import ArrayRaster
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.record import RECORD_FILE
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.napari import reader
from maskrcnnpp.napari.reader import get_reader


@pytest.fixture
def run(tmp_path):
    """Folder of a prediction of a.png with two objects."""
    square = np.ones((3, 3), bool)
    places = ((1, 0.9), (6, 0.8))
    found = [Detection((k, k, k + 3, k + 3), s, 0, square, k, k) for k, s in places]
    objects = Objects(found, 12, 12)
    info = Info("a.png", ArrayRaster(np.zeros((12, 12, 1), np.uint8)), Naming(["nucleus"], [1]))
    for name in ("labels", "csv"):
        WRITERS[name].write(objects, info, tmp_path / f"a.png{WRITERS[name].ending}")
    (tmp_path / RECORD_FILE).write_text(json.dumps({"settings": {}, "calls": []}))
    return tmp_path


def test_labels_come_with_their_table(run):
    path = str(run / "a.png.labels.tif")
    ((labels, about, kind),) = get_reader(path)(path)
    assert kind == "labels" and about["name"] == "a.png.labels.tif" and labels.max() == 2
    table = about["features"]
    assert table["index"] == table["number"] == [1, 2]
    assert table["class"] == ["nucleus"] * 2 and table["score"] == [0.9, 0.8]
    (run / "a.png.csv").unlink()
    assert "features" not in get_reader(path)(path)[0][1]


def test_a_table_without_objects(run):
    info = Info("a.png", ArrayRaster(np.zeros((12, 12, 1), np.uint8)), Naming(["nucleus"], [1]))
    WRITERS["csv"].write(Objects([], 12, 12), info, run / "a.png.csv")
    path = str(run / "a.png.labels.tif")
    assert get_reader(path)(path)[0][1]["features"]["index"] == []


def test_other_files_are_not_claimed(run, tmp_path):
    assert get_reader(str(run / "none.labels.tif")) is None
    assert get_reader([str(run / "a.png.labels.tif")]) is None
    tifffile.imwrite(run / "b.tif", np.zeros((4, 4), np.uint16))
    assert get_reader(str(run / "b.tif")) is None
    (run / RECORD_FILE).unlink()  # somebody else's, of the same ending
    assert get_reader(str(run / "a.png.labels.tif")) is None
    (run / "a.png.run.json").write_text("{}")  # as the widget saves them
    assert get_reader(str(run / "a.png.labels.tif"))


def test_damaged_files_are_named(run):
    path = run / "a.png.labels.tif"
    (run / "a.png.csv").write_text("number,score\n1\n")
    with pytest.raises(DataError, match="a.png.csv, the table beside the label image"):
        reader.read(str(path))
    tifffile.imwrite(path, np.zeros((4, 4), np.float32))
    with pytest.raises(DataError, match="not a label image: it has 2 dimensions of float32"):
        reader.read(str(path))
    path.write_bytes(b"II*\0")
    with pytest.raises(DataError, match="a.png.labels.tif cannot be read as a TIFF"):
        reader.read(str(path))


def test_its_names_are_those_of_the_writers():
    assert WRITERS["labels"].ending == reader.LABELS
    assert WRITERS["classes"].ending == reader.CLASSES
