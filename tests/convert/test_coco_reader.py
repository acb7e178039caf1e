"""The reader of COCO files, on good sources."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from coco_source import good_content, good_files, image, read_coco
from dsb2018_source import NOISE, png, write_source
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.coco import CocoReader
from maskrcnnpp.errors import DataError


def test_good_source(tmp_path, kind):
    files = {**good_files(), "images/.DS_Store": b"x", "__MACOSX/images/._a.png": b"x"}
    files["images/not_listed.png"] = png(NOISE)
    source = write_source(tmp_path, files, kind)
    samples, problems, reader = read_coco(source)
    assert not problems
    assert reader.names == list(samples) == ["a", "b"]
    assert reader.categories == [
        {"id": 1, "name": "nucleus"},
        {"id": 2, "name": "débris"},
        {"id": 3, "name": "cell"},
    ]
    assert samples["a"].category_ids == (3, 1) and samples["b"].category_ids == (1, 3)
    assert samples["a"].stain and samples["b"].stain == "fluorescence"

    # as pycocotools reads the same file
    (tmp_path / "same.json").write_bytes(files["annotations/train.json"])
    other = COCO(str(tmp_path / "same.json"))
    for name, ids in {"a": [9, 3], "b": [12, 5]}.items():
        sample = samples[name]
        assert sample.image == files[f"images/{name}.png"]
        assert (sample.suffix, sample.height, sample.width) == (".png", 12, 16)
        for rle, number in zip(sample.masks, ids, strict=True):
            expected = other.annToMask(other.anns[number])
            np.testing.assert_array_equal(coco_mask.decode(rle), expected)
    assert coco_mask.area(samples["a"].masks[0]) == 12
    assert coco_mask.area(samples["b"].masks[1]) == 16
    assert read_coco(source, workers=2)[0] == samples


def test_written_ids_are_new_and_boxes_tight(tmp_path):
    source = write_source(tmp_path, good_files(), "zip")
    problems = ProblemLog()
    reader = CocoReader(source, problems)
    with CocoDatasetWriter(tmp_path / "out", info={}, categories=reader.categories) as writer:
        for sample in reader.read(workers=0):
            writer.add(sample)
        writer.commit({"train": reader.names})
    written = json.loads((tmp_path / "out/annotations/instances_train.json").read_bytes())
    assert [entry["id"] for entry in written["images"]] == [1, 2]
    assert [entry["id"] for entry in written["annotations"]] == [1, 2, 3, 4]
    assert written["annotations"][0]["bbox"] == [2, 1, 4, 3]
    assert written["annotations"][0]["area"] == 12
    # and is read again, pixel for pixel
    again, problems, reader = read_coco(tmp_path / "out")
    assert not problems and reader.categories == written["categories"]
    first = read_coco(source)[0]
    assert {n: (s.masks, s.category_ids) for n, s in again.items()} == {
        n: (s.masks, s.category_ids) for n, s in first.items()
    }


def test_livecell(tmp_path, kind):
    """Annotations by id, images in a folder each, TIFF, sizes and file names as there."""
    content = good_content()
    content["annotations"] = {str(entry["id"]): entry for entry in content["annotations"]}
    for entry in content["images"]:
        entry["file_name"] = entry["file_name"].replace(".png", ".tif")
    tifffile.imwrite(tmp_path / "x.tif", NOISE[..., 0])
    data = (tmp_path / "x.tif").read_bytes()
    folder = "images/livecell_train_val_images/A172/"
    files = {f"{folder}a.tif": data, f"{folder}b.tif": data}
    files["livecell_coco_train.json"] = json.dumps(content).encode()
    samples, problems, _ = read_coco(write_source(tmp_path, files, kind))
    assert not problems
    assert list(samples) == [
        "livecell_train_val_images__A172__a",
        "livecell_train_val_images__A172__b",
    ]
    assert [len(sample.masks) for sample in samples.values()] == [2, 2]
    assert all(s.image == data and s.suffix == ".tif" for s in samples.values())


def test_images_without_objects_and_without_said_size(tmp_path):
    content = good_content()
    content["annotations"] = []
    del content["images"][0]["height"]
    samples, problems, _ = read_coco(write_source(tmp_path, good_files(content), "folder"))
    assert not problems and [sample.masks for sample in samples.values()] == [(), ()]


@pytest.mark.parametrize(
    ("file_name", "there", "options", "name"),
    [
        ("x/a.png", "x/a.png", {}, "x__a"),
        ("x/a.png", "data/x/a.png", {}, "data__x__a"),
        ("x\\a.png", "x/a.png", {}, "x__a"),
        ("./x/a.png", "x/a.png", {}, "x__a"),
        ("gone/a.png", "other/a.png", {}, "other__a"),
        ("a.PNG", "images/a.PNG", {}, "a"),
        ("a.png", "x/images/a.png", {"images": "x/images"}, "x__a"),
        ("a.png", "x/images/a.png", {"images": "x/images/"}, "x__a"),
        ("x/a.png", "x/a.png", {"images": "."}, "x__a"),
        ("zwei kerne µ.png", "images/zwei kerne µ.png", {}, "zwei kerne µ"),
    ],
)
def test_where_images_are_looked_up(tmp_path, kind, file_name, there, options, name):
    content = {**good_content(), "images": [image(4, file_name)]}
    content["annotations"] = content["annotations"][:1]
    files = {there: png(NOISE), "all.json": json.dumps(content).encode()}
    samples, problems, _ = read_coco(write_source(tmp_path, files, kind), **options)
    assert not problems and list(samples) == [name]


def test_the_path_counts_before_the_name(tmp_path):
    content = {**good_content(), "images": [image(4, "val/a.png"), image(30, "a.png")]}
    files = {"train/a.png": b"", "x/val/a.png": png(NOISE), "a.png": png(NOISE)}
    files["all.json"] = json.dumps(content).encode()
    samples, problems, _ = read_coco(write_source(tmp_path, files, "zip"))
    assert not problems and list(samples) == ["a", "x__val__a"]


def test_several_json_files(tmp_path, kind):
    other = {**good_content(), "images": [image(4, "a.png")], "annotations": []}
    files = {**good_files(), "annotations/val.json": json.dumps(other).encode()}
    source = write_source(tmp_path, files, kind)
    with pytest.raises(DataError, match="2 JSON files; name one with --annotations: annotations/t"):
        read_coco(source)
    samples, problems, _ = read_coco(source, annotations="annotations/val.json")
    assert not problems and list(samples) == ["a"]
    with pytest.raises(DataError, match="holds no JSON file val.json; --annotations takes"):
        read_coco(source, annotations="val.json")


def test_a_jpeg_is_seen_as_its_exif_turns_it(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NOISE[..., :3].transpose(1, 0, 2)).save(folder / "a.jpg", exif=exif)
    content = {**good_content(), "images": [image(4, "a.jpg")]}
    content["annotations"] = content["annotations"][:1]
    (folder / "all.json").write_text(json.dumps(content))
    samples, problems, _ = read_coco(folder)
    assert not problems and (samples["a"].height, samples["a"].width) == (12, 16)


def test_a_byte_order_mark_is_no_error(tmp_path):
    files = good_files()
    files["annotations/train.json"] = b"\xef\xbb\xbf" + files["annotations/train.json"]
    samples, problems, _ = read_coco(write_source(tmp_path, files, "zip"))
    assert len(samples) == 2 and not problems


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (["images/a.png", "annotations/instances_train.json"], True),
        (["images/a.png", "a/train.json", "a/val.json"], True),
        (["x/images/a.tif", "livecell_coco_train.json"], True),
        (["a.png"], False),
        (["all.json"], False),
        (["a.png", "a.json"], False),
        (["a.png", "b.png", "labels/a.json"], False),
        (["imagesTr/a.png", "labelsTr/a.png", "dataset.json"], False),
        (["images/a.png", "labels/a.png", "train.json"], False),
        (["a.png", "a_masks.png", "train.json"], False),
        (["a/images/a.png", "a/masks/1.png"], False),
        (["a.png", "labels.csv"], False),
        (["a.png", "__MACOSX/train.json"], False),
        (["a.png", "a.geojson"], False),
        (["a.png", "a.geojson", "classes.json"], False),
        (["a.png", "a.mat", "type_info.json"], False),
        (["a/images/a.png", "a/masks/1.png", "classes.json"], False),
    ],
)
def test_fits(names, fits):
    assert CocoReader.fits(names) is fits
