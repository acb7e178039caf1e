"""maskrcnnpp predict --planes: stacks of nuclei, with the shipped model and ONNX Runtime."""

import csv
import json

import numpy as np
import pytest
import tifffile
from microscope_files import write_lif

from maskrcnnpp import Predictor, cli
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images import ArrayRaster, open_image
from maskrcnnpp.inference import stacks
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.objects import Objects, SemanticObjects
from maskrcnnpp.inference.record import RECORD_FILE
from maskrcnnpp.inference.run import Job
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.napari.reader import get_reader

IMAGE = tifffile.imread("tests/files/stardist_image.tif")[:64, :64]
NAMING = Naming(["nucleus", "cell"], [1, 2])


@pytest.fixture
def images(tmp_path):
    """Folder with z.tif, in which nuclei move by a pixel from plane to plane."""
    folder = tmp_path / "images"
    folder.mkdir()
    planes = np.stack([np.roll(IMAGE, k, axis=0) for k in range(3)])
    tifffile.imwrite(folder / "z.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    return folder


def predict(images, output, *words):
    common = ["--backend", "onnx", "--diameter", "20", "--output", str(output)]
    return cli.run("predict", [str(images), *common, *words])


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def visible(output):
    return {path.name for path in output.iterdir() if path.name != ".done"}


def test_a_stack_becomes_a_stack_of_labels(images, tmp_path):
    zarr = pytest.importorskip("zarr")
    output, formats = tmp_path / "out", ["labels", "csv", "overlay", "ome-zarr"]
    words = ["--planes", "all", "--stitch", "0.3", "--format", *formats]
    assert predict(images, output, *words) == 0
    assert visible(output) == {
        RECORD_FILE, "z.tif.labels.tif", "z.tif.csv", "z.tif.overlay", "z.tif.labels.ome.zarr"
    }  # fmt: skip
    with tifffile.TiffFile(output / "z.tif.labels.tif") as file:
        assert file.is_imagej and file.series[0].axes == "ZYX"
        labels = file.asarray()
    assert labels.shape == (3, 64, 64) and labels.dtype == np.uint16
    numbers = [set(np.unique(plane)) - {0} for plane in labels]
    assert len(numbers[0]) > 1 and numbers[0] == numbers[1] == numbers[2]
    rows = table(output / "z.tif.csv")
    assert list(rows[0])[:3] == ["number", "plane", "class"]
    for plane, there in enumerate(numbers):
        here = [row for row in rows if row["plane"] == str(plane)]
        assert {int(row["number"]) for row in here} == there
        for row in here:
            assert int(row["area"]) == np.count_nonzero(labels[plane] == int(row["number"]))
    names = {path.name for path in (output / "z.tif.overlay").iterdir()}
    assert names == {f"plane000{k}.overlay.png" for k in range(3)}
    group = zarr.open_group(str(output / "z.tif.labels.ome.zarr"), mode="r")["labels/objects"]
    np.testing.assert_array_equal(group["0"][...], labels)
    assert [axis["name"] for axis in group.attrs["multiscales"][0]["axes"]] == ["z", "y", "x"]
    label_values = [p["label-value"] for p in group.attrs["image-label"]["properties"]]
    assert sorted(label_values) == sorted(numbers[0])
    settings = json.loads((output / RECORD_FILE).read_text())["settings"]
    assert settings["planes"] == "all" and settings["stitch"] == 0.3
    path = str(output / "z.tif.labels.tif")
    ((shown, about, kind),) = get_reader(path)(path)
    assert kind == "labels" and shown.shape == labels.shape and "features" not in about
    with pytest.raises(DataError, match="is of stacks"):
        cli.run("view", [str(output)])


def test_without_stitching_each_object_has_its_own_number(images, tmp_path):
    assert (
        predict(images, tmp_path / "out", "--planes", "2", "0-1", "--format", "labels", "csv") == 0
    )
    labels = tifffile.imread(tmp_path / "out" / "z.tif.labels.tif")
    rows = table(tmp_path / "out" / "z.tif.csv")
    assert [int(row["number"]) for row in rows] == list(range(1, labels.max() + 1))
    assert [row["plane"] for row in rows] == sorted(row["plane"] for row in rows)
    path = str(tmp_path / "out" / "z.tif.labels.tif")
    ((_, about, _),) = get_reader(path)(path)
    assert about["features"]["plane"] == [float(row["plane"]) for row in rows]


def test_time_and_depth(images, tmp_path):
    zarr = pytest.importorskip("zarr")
    (images / "z.tif").unlink()
    pixels = np.broadcast_to(IMAGE, (2, 2, 64, 64))
    tifffile.imwrite(images / "tz.tif", pixels, ome=True, metadata={"axes": "TZYX"})
    words = ["--planes", "1-3", "--stitch", "0.5", "--format", "labels", "csv", "ome-zarr", "rois"]
    assert predict(images, tmp_path / "out", *words) == 0
    with tifffile.TiffFile(tmp_path / "out" / "tz.tif.labels.tif") as file:
        assert file.series[0].axes == "TZYX"
        labels = file.asarray()
    assert not labels[0, 0].any() and labels[0, 1].any()
    np.testing.assert_array_equal(labels[1, 0], labels[1, 1])
    assert not set(labels[0][labels[0] > 0]) & set(labels[1][labels[1] > 0])
    rows = table(tmp_path / "out" / "tz.tif.csv")
    assert {(row["t"], row["z"]) for row in rows} == {("0", "1"), ("1", "0"), ("1", "1")}
    group = zarr.open_group(str(tmp_path / "out" / "tz.tif.labels.ome.zarr"), mode="r")
    np.testing.assert_array_equal(group["labels/objects/0"][...], labels)
    names = {path.name for path in (tmp_path / "out" / "tz.tif.rois").iterdir()}
    assert names == {"t0000_z0001.rois.zip", "t0001_z0000.rois.zip", "t0001_z0001.rois.zip"}


def test_images_of_one_plane_and_planes_that_are_not_there(images, tmp_path, capsys):
    tifffile.imwrite(images / "one.tif", IMAGE)
    with tifffile.TiffWriter(images / "differ.tif") as file:
        for plane in (IMAGE, IMAGE[:32]):
            file.write(plane)
    output, words = tmp_path / "out", ["--format", "labels", "csv", "overlay", "--planes"]
    assert predict(images, output, *words, "0") == 1
    assert tifffile.imread(output / "one.tif.labels.tif").shape == (64, 64)
    assert {row["plane"] for row in table(output / "one.tif.csv")} == {"0"}
    assert "left out: " in capsys.readouterr().err
    assert predict(images, tmp_path / "other", *words, "1", "99") == 1
    said = capsys.readouterr().err
    assert "z.tif has the planes 0..2, not 99: choose others with --planes" in said
    assert "one.tif has the planes 0..0, not 1, 99" in said
    assert "differ.tif holds planes that differ (64x32 of uint16, 64x64 of uint16)" in said
    assert visible(tmp_path / "other") == {RECORD_FILE}
    assert predict(images, tmp_path / "none") == 1  # without --planes
    said = capsys.readouterr().err
    assert "z.tif is a stack with the axes z 3, c 1, y 64, x 64" in said and "--planes all" in said


def test_a_scene_of_several(images, tmp_path, capsys):
    pytest.importorskip("bioio_lif")
    (images / "z.tif").unlink()
    pixels = IMAGE[None, None].astype(np.uint16)
    write_lif(images / "a.lif", {"empty": np.zeros_like(pixels), "cells": pixels})
    assert predict(images, tmp_path / "out") == 1
    assert "holds 2 scenes (0 empty, 1 cells): choose one with --scene" in capsys.readouterr().err
    assert predict(images, tmp_path / "out", "--scene", "cells") == 0
    assert tifffile.imread(tmp_path / "out" / "a.lif.labels.tif").any()
    assert cli.run("view", [str(tmp_path / "out")]) == 0
    assert "outlines only" not in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"other settings \(scene\)"):
        predict(images, tmp_path / "out", "--scene", "empty")


@pytest.mark.parametrize(
    ("planes", "stitch", "formats", "message"),
    [
        (None, 0.3, ["csv"], "--stitch is of the planes of a stack: give --planes all"),
        ("all", 1.5, ["csv"], "--stitch is 1.5; .* above 0 and up to 1"),
        ([0, 1, 3], 0.3, ["csv"], "leaves out the one after 1: .* 0-3"),
        ("all", None, ["csv", "coco"], "--format coco has no place for planes; .*'labels'"),
    ],
)
def test_options_that_cannot_work(tmp_path, planes, stitch, formats, message):
    job = Job([], tmp_path / "out", formats, planes=planes, stitch=stitch)
    with pytest.raises(ConfigError, match=message):
        job.check()


@pytest.mark.parametrize("word", ["some", "3-1", "-1", "1.5", "0-9999999999"])
def test_words_that_are_no_planes(images, tmp_path, word):
    with pytest.raises(SystemExit) as caught:
        predict(images, tmp_path / "out", "--planes", word)
    assert caught.value.code == 2


def test_other_planes_are_not_mixed_in(images, tmp_path, capsys):
    output = tmp_path / "out"
    words = ["--format", "csv", "overlay", "--planes"]
    assert predict(images, output, *words, "0") == 0
    before = (output / "z.tif.csv").read_bytes()
    for other, name in (["0-1"], "planes"), (["0", "--stitch", "0.3"], "stitch"):
        with pytest.raises(ConfigError, match=rf"other settings \({name}\)"):
            predict(images, output, *words, *other)
    with pytest.raises(ConfigError, match=r"other settings \(planes\)"):
        predict(images, output, "--format", "csv")
    assert (output / "z.tif.csv").read_bytes() == before
    capsys.readouterr()
    assert predict(images, output, *words, "0") == 0
    assert "1 of 1 images are done and skipped" in capsys.readouterr().out
    assert predict(images, output, *words, "0", "--shard", "1/2") == 0


def test_a_run_that_ends_in_a_stack_leaves_nothing_of_it(images, tmp_path, monkeypatch, capsys):
    inner, output = stacks.predict_planes, tmp_path / "out"

    def broken(*args):
        yield next(inner(*args))
        raise DataError("plane 1 is damaged")

    monkeypatch.setattr(stacks, "predict_planes", broken)
    words = ["--planes", "all", "--format", "labels", "csv", "overlay"]
    assert predict(images, output, *words) == 1
    assert visible(output) == {RECORD_FILE} and "plane 1 is damaged" in capsys.readouterr().err
    monkeypatch.setattr(stacks, "predict_planes", inner)
    assert predict(images, output, *words) == 0
    assert len(list((output / "z.tif.overlay").iterdir())) == 3


class Fake:
    """A predictor that finds a square in each plane, of the class that the plane has."""

    progress = False

    def __init__(self, is_semantic=False):
        self.is_semantic = is_semantic

    def __call__(self, raster):
        square = np.ones((4, 4), bool)
        entry = Detection((1, 1, 5, 5), 0.9, int(raster.whole().max()), square, 1, 1)
        if self.is_semantic:
            return SemanticObjects([entry], np.full((1, raster.height, raster.width), 0.9))
        return Objects([entry], raster.height, raster.width, scale=0.5)


def test_from_python_a_plane_after_the_other(tmp_path):
    pixels = np.zeros((4, 8, 9), np.uint8)
    pixels[2:] = 1
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TYX"})
    with open_image(tmp_path / "a.tif", stacks=True) as raster:
        found = [(k, o.numbers, dict(raster.place)) for k, o in
                 stacks.predict_planes(Fake(), raster, stitch=0.5)]  # fmt: skip
    # the same place, and two classes
    assert found == [(k, [1 + k // 2], {"t": k}) for k in range(4)]


def test_all_planes_are_resized_as_the_one_in_the_middle(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 20, 30), np.uint8))
    predictor = Predictor.load("nuclei", backend="onnx", progress=False)
    asked = []
    monkeypatch.setattr(predictor, "scale_of", lambda raster: asked.append(raster.plane) or 2.0)
    with open_image(tmp_path / "a.tif", stacks=True) as raster:
        found = list(stacks.predict_planes(predictor, raster, [1, 2, 3]))
    assert asked == [2] and [objects.scale for _, objects in found] == [2.0] * 3


def test_what_has_no_stack_is_a_file_of_each_plane(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 8, 9), np.uint8))
    formats = ("classes", "probabilities", "csv")
    outputs = {form: tmp_path / "out" / form for form in formats}
    with open_image(tmp_path / "a.tif", stacks=True) as raster:
        info = Info("a.tif", raster, NAMING)
        assert stacks.predict_stack(Fake(is_semantic=True), "all", None, info, outputs) == 1.0
        assert stacks.predict_stack(Fake(), [1], None, info, {}) == 0.5
    for form in formats[:2]:
        names = sorted(path.name for path in outputs[form].iterdir())
        assert names == [f"plane000{k}.{form}.tif" for k in range(2)]
    assert [row["plane"] for row in table(outputs["csv"])] == ["0", "1"]


def test_labels_have_the_scale_of_the_image(tmp_path):
    """Of a plane and of a stack, ImageJ's and OME's: half a micrometre, and planes 2 apart."""
    pixels = np.zeros((3, 8, 9), np.uint8)
    about = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, resolution=(2, 2), metadata=about)
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (0.5, 0.5, 2.0))}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": "ZYX", **sizes})
    path = tmp_path / "labels.tif"
    for name, number in (("a.tif", 1), ("a.ome.tif", 70000)):
        entry = Detection((1, 1, 5, 5), 0.9, 0, np.ones((4, 4), bool), 1, 1)
        found = {0: Objects([entry], 8, 9, numbers=[number])}
        with open_image(tmp_path / name, stacks=True) as raster:
            WRITERS["labels"].write_stack(found, Info("a.tif", raster, NAMING), path)
        with open_image(path, stacks=True) as labels:
            assert (labels.micrometres, labels.steps) == (0.5, {"z": (2.0, "micrometer")})
        with tifffile.TiffFile(path) as file:
            assert file.is_imagej == (number == 1) and file.is_ome == (number > 1)
    raster.stack = {}
    WRITERS["labels"].write(found[0], Info("a.tif", raster, NAMING), path)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].get_resolution("MICROMETER") == (2.0, 2.0)


def test_more_numbers_than_imagej_has_place_for(tmp_path):
    raster = ArrayRaster(np.zeros((8, 9, 1), np.uint8))
    raster.stack = {"z": 3}
    entry = Detection((1, 1, 5, 5), 0.9, 0, np.ones((4, 4), bool), 1, 1)
    found = {0: Objects([entry], 8, 9), 2: Objects([entry], 8, 9, numbers=[70000])}
    path = tmp_path / "a.labels.tif"
    WRITERS["labels"].write_stack(found, Info("a.tif", raster, NAMING), path)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome and file.series[0].axes == "ZYX"
        labels = file.asarray()
    assert labels.dtype == np.uint32 and labels.max(axis=(1, 2)).tolist() == [1, 0, 70000]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_of_a_stack_lies_on_its_image(tmp_path, version):
    write = pytest.importorskip("ome_zarr_image").write
    models = pytest.importorskip("ome_zarr_models")
    import zarr

    pixels = np.ones((2, 3, 64, 80), np.uint8)
    image = write(tmp_path / "a.zarr", pixels, "tzyx", version)
    path = tmp_path / "out.ome.zarr"
    with open_image(image, stacks=True) as raster:
        info = Info("a.zarr", raster, NAMING)
        stacks.predict_stack(Fake(), [1, 5], None, info, {"ome-zarr": path})
    labels = zarr.open_group(str(path / "labels/objects"), mode="r")
    assert labels["0"].shape == (2, 3, 64, 80) and labels["1"].shape == (2, 3, 32, 40)
    assert [labels[k][t, z].max() for k in "01" for t, z in ((0, 1), (1, 2), (1, 1))] == [
        1, 2, 0, 1, 2, 0
    ]  # fmt: skip
    assert type(models.open_ome_zarr(labels)).__name__ == "ImageLabel"
    about, of_image = (
        group.attrs.get("ome", group.attrs)["multiscales"][0]
        for group in (labels, zarr.open_group(str(image), mode="r"))
    )
    assert about["axes"] == of_image["axes"]
    for ours, theirs in zip(about["datasets"], of_image["datasets"]):
        assert ours["coordinateTransformations"] == theirs["coordinateTransformations"]
