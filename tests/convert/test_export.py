"""COCO data sets written in other layouts, and the tool that does so."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from coco_source import encode, truth_of, write_images
from PIL import Image

from maskrcnnpp import cli
from maskrcnnpp.convert import export
from maskrcnnpp.convert.export import EXPORTS, draw_labels, export_csv, export_labels, export_pngs
from maskrcnnpp.errors import DataError, OutputError
from maskrcnnpp.files import PARTIAL


def overlapping() -> dict[str, np.ndarray]:
    masks = np.zeros((3, 12, 16), bool)
    masks[0, 1:4, 2:6] = True  # 12 pixels
    masks[1, :6, :8] = True  # 48: the first lies in it
    masks[2, 3:6, 5:9] = True  # 12: one pixel of the first, nine of the second
    return {"a.png": masks, "b.png": np.zeros((0, 12, 16), bool)}


@pytest.fixture
def source(tmp_path):
    """An annotation file, a folder of images and where to write."""
    truth = truth_of(overlapping())
    (tmp_path / "in").mkdir()
    (tmp_path / "in/truth.json").write_text(json.dumps(truth))
    return truth, write_images(tmp_path / "in/images", truth), tmp_path / "out"


def files_of(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_label_images(source):
    counts = export_labels(*source)
    output = source[2]
    assert files_of(output) == ["images/a.png", "images/b.png", "labels/a.tif", "labels/b.tif"]
    labels = tifffile.imread(output / "labels/a.tif")
    assert labels.dtype == np.uint16 and labels.shape == (12, 16)
    assert labels[3, 5] == 1  # both have 12 pixels
    assert [int((labels == k).sum()) for k in (1, 2, 3)] == [12, 48 - 12 - 9 + 1, 11]
    with tifffile.TiffFile(output / "labels/a.tif") as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert not tifffile.imread(output / "labels/b.tif").any()
    assert (counts.pixels_lost, counts.objects_cut, counts.objects_lost) == (21, 2, 0)
    assert "2 objects lost 21 pixels to smaller ones, 0 of them all" in counts.lines()
    assert "1 images have no objects" in counts.lines()


def test_an_object_that_others_cover(tmp_path):
    masks = np.ones((3, 2, 4), bool)
    masks[1, :, 2:] = masks[2, :, :2] = False
    truth = truth_of({"a.png": masks})
    counts = export_labels(truth, write_images(tmp_path / "in", truth), tmp_path / "out")
    assert tifffile.imread(tmp_path / "out/labels/a.tif").tolist() == [[2, 2, 3, 3]] * 2
    assert (counts.pixels_lost, counts.objects_cut, counts.objects_lost) == (8, 1, 1)


def test_more_objects_than_16_bits_have(monkeypatch):
    assert export._LARGEST_SHORT == np.iinfo(np.uint16).max
    rles = [encode(pixels) for pixels in np.eye(4, dtype=bool).reshape(4, 2, 2)]
    monkeypatch.setattr(export, "_LARGEST_SHORT", 3)
    labels, areas, kept = draw_labels(rles, 2, 2)
    assert labels.dtype == np.uint32 and labels.tolist() == [[1, 2], [3, 4]]
    assert areas.tolist() == kept.tolist() == [1] * 4
    assert draw_labels(rles[:3], 2, 2)[0].dtype == np.uint16


def test_pngs(source):
    truth, root, output = source
    counts = export_pngs(*source)
    expected = ["a/images/a.png", "a/masks/1.png", "a/masks/2.png", "a/masks/3.png"]
    assert files_of(output) == [*expected, "b/images/b.png"] and (output / "b/masks").is_dir()
    assert (output / "a/images/a.png").read_bytes() == (root / "a.png").read_bytes()
    for number, pixels in enumerate(overlapping()["a.png"], start=1):
        with Image.open(output / f"a/masks/{number}.png") as file:
            assert file.mode == "L"
            np.testing.assert_array_equal(np.asarray(file), pixels * 255)
    assert counts.other_images == 0


def test_table(source):
    export_csv(*source)
    output = source[2]
    assert files_of(output) == ["images/a.png", "images/b.png", "labels.csv"]
    header, *rows = csv.reader((output / "labels.csv").read_text().splitlines())
    assert header == ["ImageId", "EncodedPixels"]
    assert rows[0] == ["a", "26 3 38 3 50 3 62 3"] and rows[3] == ["b", ""]
    assert [name for name, _ in rows] == ["a", "a", "a", "b"]


def test_polygons_crowds_and_order_of_ids(source):
    truth, root, output = source
    shape = {"image_id": 2, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1}
    crowd = {"size": [12, 16], "counts": [0, 192]}
    truth["annotations"] = [
        {**shape, "id": 8, "segmentation": [[10, 8, 12, 8, 12, 10, 10, 10]]},
        {**shape, "id": 5, "segmentation": crowd, "iscrowd": 1},
        {**shape, "id": 3, "segmentation": {"size": [12, 16], "counts": [0, 5, 187]}},
    ]
    counts = export_labels(*source)
    labels = tifffile.imread(output / "labels/b.tif")
    assert (counts.objects, counts.crowds) == (
        2,
        1,
    ) and "1 annotations are crowds" in counts.lines()
    assert labels[:5, 0].tolist() == [1] * 5 and labels[8:10, 10:12].tolist() == [[2, 2]] * 2
    assert np.count_nonzero(labels) == 9


def test_images_in_folders_and_of_other_kinds(source):
    truth, root, output = source
    for image, name in zip(truth["images"], ["x/a.TIF", "zwei kerne µ.jpg"]):
        shutil.copy(root / image["file_name"], root / "copy")
        (root / "x").mkdir(exist_ok=True)
        (root / "copy").rename(root / name)
        image["file_name"] = name
    counts = export_pngs(*source)
    assert "x__a/images/x__a.tif" in files_of(output)
    assert "zwei kerne µ/images/zwei kerne µ.jpg" in files_of(output)
    assert "2 images are no PNG files" in counts.lines()


def edit(kind, number, **values):
    return lambda truth: truth[kind][number].update(values)


BAD = {
    "missing image": (edit("images", 1, file_name="c.png"), "c.png: the image is missing; check"),
    "out of the folder": (edit("images", 1, file_name="../b.png"), "image 2: file_name leads out"),
    "absolute": (edit("images", 1, file_name="/etc/b.png"), "image 2: file_name leads out"),
    "no file name": (edit("images", 1, file_name=None), "image 2: no file_name"),
    "no size": (edit("images", 1, height=0), "image 2: height 0; an integer"),
    "size that is a text": (edit("images", 1, width="16"), "image 2: width '16'"),
    "one file twice": (edit("images", 1, file_name="a.png"), "would both be called a; rename one"),
    "differing by case": (edit("images", 1, file_name="A.tif"), "a.png and A.tif would both be"),
    "one id twice": (edit("images", 1, id=1), "two images have one id"),
    "id that is a list": (edit("images", 1, id=[1]), "an id of an image is not a number or text"),
    "image that is a list": (edit("annotations", 1, image_id=[1]), "an id of an image is no"),
    "unknown image": (edit("annotations", 1, image_id=9), "annotation 2 is of image 9, which"),
    "no segmentation": (edit("annotations", 1, segmentation=None), "annotation 2 of a.png has no "),
    "empty mask": (
        edit("annotations", 1, segmentation={"size": [12, 16], "counts": [192]}),
        "annotation 2 of a.png has no pixel; mend",
    ),
    "mask of another size": (
        edit("annotations", 1, segmentation={"size": [16, 12], "counts": [0, 192]}),
        "annotation 2 of a.png has an RLE of 12x16 pixels for an image of 16x12",
    ),
    "damaged mask": (
        edit("annotations", 1, segmentation={"size": [12, 16], "counts": "T"}),
        "annotation 2 of a.png has a compressed RLE that is damaged",
    ),
    "a test set": (lambda truth: truth.pop("annotations"), "has no annotations"),
}  # fmt: skip


@pytest.mark.parametrize("layout", EXPORTS)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_nothing(source, layout, case):
    damage, message = BAD[case]
    damage(source[0])
    with pytest.raises(DataError) as error:
        EXPORTS[layout](*source)
    assert message in str(error.value)
    assert [path.name for path in source[2].parent.iterdir()] == ["in"]


@pytest.mark.parametrize("layout", EXPORTS)
def test_an_output_that_is_there(source, layout):
    truth, root, output = source
    output.mkdir()
    EXPORTS[layout](*source)  # empty: taken
    before = files_of(output)
    with pytest.raises(DataError, match="out: is there and not empty; name a new folder"):
        EXPORTS[layout](*source)
    assert files_of(output) == before
    with pytest.raises(DataError, match="truth.json: is there and not empty"):
        EXPORTS[layout](truth, root, root.parent / "truth.json")
    EXPORTS[layout](truth, root, output.parent / "new" / "deeper")
    assert files_of(output.parent / "new" / "deeper") == before
    assert not list(output.parent.rglob(f"{PARTIAL}*"))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")
def test_permissions_are_those_of_an_ordinary_folder(source):
    export_csv(*source)
    (source[2].parent / "ordinary").mkdir()
    assert source[2].stat().st_mode == (source[2].parent / "ordinary").stat().st_mode


@pytest.mark.parametrize("layout", EXPORTS)
@pytest.mark.parametrize("raised", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_run_that_is_stopped_leaves_nothing(source, monkeypatch, layout, raised):
    copied, copy = [], export._copy

    def stopped(image, folder):
        copied.append(image.name)
        if len(copied) == 2:
            raise raised
        copy(image, folder)

    monkeypatch.setattr(export, "_copy", stopped)
    if isinstance(raised, OSError):
        with pytest.raises(OutputError, match="out: cannot be written .*No space left"):
            EXPORTS[layout](*source)
    else:
        with pytest.raises(KeyboardInterrupt):
            EXPORTS[layout](*source)
    assert copied == ["a", "b"]
    assert [path.name for path in source[2].parent.iterdir()] == ["in"]


def test_an_image_that_cannot_be_copied(source, monkeypatch):
    def refused(source, target):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(export.shutil, "copyfile", refused)
    with pytest.raises(DataError, match="a.png: cannot be copied .*Permission denied"):
        export_csv(*source)


def run_tool(capsys, *argv):
    status = 0
    try:
        cli.main(["export", *map(os.fspath, argv)])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("layout", EXPORTS)
def test_tool(source, capsys, layout):
    truth, root, output = source
    words = ["--annotations", root.parent / "truth.json", "--images", root, "--output", output]
    status, out, _ = run_tool(capsys, *words, "--format", layout)
    assert status == 0
    assert "2 images, 3 objects" in out and f"written to {output}" in out
    assert ("masks overlap" in out) is (layout == "labels")
    status, _, err = run_tool(capsys, *words, "--format", layout)
    assert status == 2 and f"error: {output}: is there and not empty" in err


def test_tool_with_a_file_that_is_none(source, capsys):
    words = ["--images", source[1], "--output", source[2], "--format", "csv", "--annotations"]
    status, _, err = run_tool(capsys, *words, source[2] / "no.json")
    assert status == 2 and "no.json: cannot be read as a COCO annotation file" in err
    status, _, err = run_tool(capsys, *words, source[1] / "a.png")
    assert status == 2 and "a.png: cannot be read" in err and not source[2].exists()
