"""OME-Zarr, read: versions, axes, pixel sizes, levels, and what is no image."""

import json
import logging
import shutil

import numpy as np
import pytest
import zarr
from ome_zarr_image import write

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import find_images, image_kind, image_size, open_image
from maskrcnnpp.images.ome_zarr import ZarrRaster


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["yx", "cyx", "tczyx"])
def test_both_versions_are_read_region_by_region(tmp_path, version, axes, monkeypatch):
    pixels = noise(70, 90)
    stored = pixels.reshape(*[1] * (len(axes) - 2), 70, 90)
    path = write(tmp_path / "a.ome.zarr", stored, axes, version)
    reads = []
    plain = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda a, k: reads.append(k) or plain(a, k))
    with open_image(path) as raster:
        assert raster.shape == (70, 90, 1) and raster.dtype == np.uint16
        assert raster.micrometres == 0.5 and raster.version == version
        assert not reads
        np.testing.assert_array_equal(raster.region(10, 20, 60, 81)[..., 0], pixels[10:60, 20:81])
        assert [k[-2:] for k in reads] == [(slice(10, 60), slice(20, 81))]
        np.testing.assert_array_equal(raster.thumbnail(45)[..., 0], pixels[::2, ::2])
    assert image_size(path) == (70, 90) and image_kind(path)[:3] == ("uint16", 1, True)


def test_a_level_has_its_own_size_of_pixels(tmp_path):
    path = write(tmp_path / "a.zarr", noise(70, 90))
    with open_image(path, level=1) as raster:
        assert raster.shape[:2] == (35, 45) and raster.micrometres == 1.0
        np.testing.assert_array_equal(raster.whole()[..., 0], noise(70, 90)[::2, ::2])
    with pytest.raises(DataError, match=r"a.zarr has the levels 0..1, not --level 2"):
        open_image(path, level=2)


def test_channels_and_their_names(tmp_path):
    pixels = noise(3, 40, 50, dtype=np.uint8)
    omero = {"channels": [{"label": name, "color": "FFFFFF"} for name in ("DAPI", "GFP", "RFP")]}
    path = write(tmp_path / "a.zarr", pixels, "cyx", omero=omero)
    with pytest.raises(DataError, match=r"3 channels \(DAPI, GFP, RFP\); choose"):
        open_image(path)
    with open_image(path, [2, 0]) as raster:
        np.testing.assert_array_equal(raster.whole(), np.moveaxis(pixels[[2, 0]], 0, -1))
    omero = {"channels": [{"color": c} for c in ("ff0000", "00ff00", "0000ff")]}
    with open_image(write(tmp_path / "b.zarr", pixels, "cyx", omero=omero)) as raster:
        assert raster.is_colour and raster.shape == (40, 50, 3)


def test_pixels_of_any_unit_or_none(tmp_path):
    path = write(tmp_path / "a.zarr", noise(40, 50))
    about = json.loads((path / ".zattrs").read_text())
    multiscale = about["multiscales"][0]
    multiscale["coordinateTransformations"] = [{"type": "scale", "scale": [2.0, 2.0]}]
    for axis, expected in (({"unit": "nanometer"}, 1e-3), ({}, None), ({"unit": "foot"}, None)):
        multiscale["axes"] = [{"name": name, **axis} for name in "yx"]
        (path / ".zattrs").write_text(json.dumps(about))
        with open_image(path) as raster:
            assert raster.micrometres == expected


def test_chunks_that_are_missing_are_told_or_refused(tmp_path, caplog):
    pixels = noise(70, 90)
    pixels[:32, :32] = 0  # which writers leave out
    path = write(tmp_path / "a.zarr", pixels)
    with caplog.at_level(logging.WARNING), open_image(path) as raster:
        np.testing.assert_array_equal(raster.whole()[..., 0], pixels)
    assert "a.zarr has 8 of 9 chunks; the rest is read as 0" in caplog.text
    (chunk,) = (p for p in (path / "0").iterdir() if p.name in ("1.1", "1"))
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    with open_image(path) as raster, pytest.raises(DataError, match=r"a.zarr is damaged: rows"):
        raster.whole()
    for file in list((path / "0").iterdir()):
        if not file.name.startswith(".z"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    with pytest.raises(DataError, match="a.zarr has none of its chunks"):
        open_image(path)
    shutil.rmtree(path / "0")
    with pytest.raises(DataError, match="a.zarr lacks its array 0: copy the folder again"):
        open_image(path)


def test_shards_that_are_missing_are_told(tmp_path, caplog):
    path = write(tmp_path / "a.zarr", noise(70, 90), version="0.5", chunk=16, shards=(32, 32))
    with caplog.at_level(logging.WARNING), open_image(path) as raster:
        np.testing.assert_array_equal(raster.whole()[..., 0], noise(70, 90))
    assert "chunks" not in caplog.text
    (path / "0" / "c" / "1" / "1").unlink()
    with caplog.at_level(logging.WARNING):
        open_image(path)
    assert "a.zarr has 8 of 9 chunks" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiscales": None}, "not OME-Zarr: its metadata have no multiscales"),
        ({"plate": {}, "multiscales": None}, "is a plate: give the folders of its images"),
        ({"axes": None}, "names no axes, as OME-NGFF before 0.4"),
        ({"axes": [{"name": "y"}, {"name": "wavelength"}]}, "axes y, wavelength; known are"),
        ({"axes": ["c", "y", "x"]}, "2 dimensions, and the axes are cyx"),
        ({"datasets": 7}, "cannot be read as an image"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, change, message):
    path = write(tmp_path / "a.zarr", noise(40, 50))
    about = json.loads((path / ".zattrs").read_text())
    for key, value in change.items():
        (about["multiscales"][0] if key in ("axes", "datasets") else about)[key] = value
    (path / ".zattrs").write_text(json.dumps(about))
    with pytest.raises(DataError, match=message) as caught:
        open_image(path)
    assert "a.zarr" in str(caught.value)


def test_other_folders_of_that_name(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(DataError, match="a.zarr is not Zarr: it has none of .zgroup"):
        open_image(tmp_path / "a.zarr")
    zarr.create(store=str(tmp_path / "b.zarr"), shape=(4, 4), chunks=(4, 4), dtype="u1")
    with pytest.raises(DataError, match="b.zarr is an array of Zarr without OME"):
        open_image(tmp_path / "b.zarr")
    group = zarr.open_group(str(tmp_path / "c.zarr"), mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    write(tmp_path / "c.zarr" / "0", noise(40, 50))
    with open_image(tmp_path / "c.zarr") as raster:  # of one image
        assert raster.shape == (40, 50, 1)
    write(tmp_path / "c.zarr" / "1", noise(40, 50))
    with pytest.raises(DataError, match="c.zarr holds several images"):
        open_image(tmp_path / "c.zarr")
    with open_image(tmp_path / "c.zarr" / "1") as raster:
        assert raster.shape == (40, 50, 1)


def test_a_stack_is_refused_by_its_axes(tmp_path):
    path = write(tmp_path / "a.zarr", noise(2, 1, 3, 40, 50), "tczyx")
    with pytest.raises(DataError, match=r"a.zarr is a stack with the axes t 2, z 3, c 1, y 40"):
        open_image(path)


def test_folders_that_are_images_are_found(tmp_path):
    inner = tmp_path / "images"
    for name in ("a.ome.zarr", "b.zarr"):
        write(inner / name, noise(40, 50))
    (inner / "other").mkdir()
    both = [inner / "a.ome.zarr", inner / "b.zarr"]
    assert find_images([str(inner)]) == both
    assert find_images([f"{inner}/a.ome.zarr/", f"{inner}/*"]) == both


def test_zarr_that_is_too_old_or_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", noise(40, 50), version="0.5")
    monkeypatch.setattr(zarr, "__version__", "2.18.7")
    with pytest.raises(DataError, match="needs Python 3.11 and zarr 3; this is zarr 2.18.7"):
        ZarrRaster(path)
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(DataError, match=r"a.zarr needs zarr: pip install 'maskrcnnpp\[zarr\]'"):
        ZarrRaster(path)
