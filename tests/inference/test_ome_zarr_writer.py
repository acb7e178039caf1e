"""Labels as OME-Zarr, read back with zarr and held against models of the specification."""

import numpy as np
import pytest
import zarr
from ome_zarr_image import write

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import ArrayRaster, open_image
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.inference.writers.info import Info

NAMING = Naming(["nucleus", "cell"], [1, 2])


def found(height, width):
    places = [(0, 0), (height - 40, width - 30), (height // 2, width // 2)]
    boxes = [Detection((0, 0, 1, 1), 0.9 - k / 10, k % 2, np.ones((40, 30), bool), *p)
             for k, p in enumerate(places)]  # fmt: skip
    return Objects(boxes, height, width)


def ome_of(group):
    return group.attrs.get("ome", dict(group.attrs))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_have_the_levels_and_version_of_their_image(tmp_path, version):
    image = write(tmp_path / "a.zarr", np.ones((601, 530), np.uint8), version=version, levels=3)
    before = {p: p.stat().st_mtime_ns for p in image.rglob("*")}
    objects, path = found(601, 530), tmp_path / "out.ome.zarr"
    with open_image(image) as raster:
        WRITERS["ome-zarr"].write(objects, Info("a.zarr", raster, NAMING), path)
        WRITERS["ome-zarr"].write(objects, Info("a.zarr", raster, NAMING), path)  # in its place
    assert {p: p.stat().st_mtime_ns for p in image.rglob("*")} == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    group = zarr.open_group(str(path), mode="r")
    assert ome_of(group["labels"])["labels"] == ["objects"]
    labels = group["labels/objects"]
    np.testing.assert_array_equal(labels["0"][...], objects.labels())
    assert [labels[str(k)].shape for k in range(3)] == [(601, 530), (301, 265), (151, 133)]
    assert set(np.unique(labels["2"][...])) == {0, 1, 2, 3}
    about = ome_of(labels)
    assert [p["score"] for p in about["image-label"]["properties"]] == [0.9, 0.8, 0.7]
    assert about["image-label"]["properties"][1]["class"] == "cell"
    assert (path / "labels/objects/zarr.json").is_file() == (version == "0.5")
    with open_image(path / "labels/objects", level=1) as again:  # as an image, in the same place
        assert again.micrometres is None or abs(again.micrometres - 1) < 0.01
        assert again.shape[:2] == (301, 265)


def test_of_other_images_levels_are_halved(tmp_path):
    raster = ArrayRaster(np.zeros((600, 513, 1), np.uint8), micrometres=0.25)
    path = tmp_path / "out.ome.zarr"
    WRITERS["ome-zarr"].write(found(600, 513), Info("a", raster, NAMING), path)
    labels = zarr.open_group(str(path), mode="r")["labels/objects"]
    (multiscale,) = labels.attrs["multiscales"]
    assert [labels[d["path"]].shape for d in multiscale["datasets"]] == [
        (600, 513), (300, 257), (150, 129),
    ]  # fmt: skip
    scales = [d["coordinateTransformations"][0]["scale"][0] for d in multiscale["datasets"]]
    assert scales == [0.25, 0.5, 1.0] and multiscale["axes"][0]["unit"] == "micrometer"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_models_of_the_specification_take_it(tmp_path, version):
    models = pytest.importorskip("ome_zarr_models")
    image = write(tmp_path / "a.zarr", np.ones((64, 80), np.uint8), version=version)
    path = tmp_path / "out.ome.zarr"
    with open_image(image) as raster:
        WRITERS["ome-zarr"].write(found(64, 80), Info("a.zarr", raster, NAMING), path)
    labels = models.open_ome_zarr(zarr.open_group(str(path / "labels/objects"), mode="r"))
    assert type(labels).__name__ == "ImageLabel" and labels.ome_zarr_version == version
    (path / "labels").rename(image / "labels")  # as a user may copy it
    group = zarr.open_group(str(image), mode="r")
    assert type(models.open_ome_zarr(group)).__name__ == "Image"
    assert ome_of(group["labels"])["labels"] == ["objects"]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    raster = ArrayRaster(np.zeros((64, 80, 1), np.uint8))
    objects, path = found(64, 80), tmp_path / "out.ome.zarr"
    WRITERS["ome-zarr"].write(objects, Info("a", raster, NAMING), path)
    before = {p.relative_to(path) for p in path.rglob("*")}

    def broken(*_):
        raise DataError("broken")

    monkeypatch.setattr(objects, "label_tiles", broken)
    with pytest.raises(DataError, match="broken"):
        WRITERS["ome-zarr"].write(objects, Info("a", raster, NAMING), path)
    assert {p.relative_to(path) for p in path.rglob("*")} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.zarr"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        WRITERS["ome-zarr"].write(objects, Info("a", raster, NAMING), tmp_path / "file" / "b")
