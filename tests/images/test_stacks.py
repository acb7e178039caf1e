"""Z-stacks and time series in TIFF and OME-Zarr, read plane by plane."""

import numpy as np
import pytest
import tifffile

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import open_image, tiff, tiff_series

PLANES = np.random.default_rng(0).integers(0, 60000, (6, 40, 50)).astype(np.uint16)
IMAGEJ, OME = {"imagej": True}, {"ome": True}
KINDS = {
    "imagej z": (PLANES, {**IMAGEJ, "metadata": {"axes": "ZYX"}}, {"z": 6}),
    "imagej t": (PLANES, {**IMAGEJ, "metadata": {"axes": "TYX"}}, {"t": 6}),
    "imagej tz": (
        PLANES.reshape(2, 3, 40, 50),
        {**IMAGEJ, "metadata": {"axes": "TZYX"}},
        {"t": 2, "z": 3},
    ),
    "ome zt": (  # in another order than planes are counted in
        PLANES.reshape(2, 3, 40, 50).swapaxes(0, 1),
        {**OME, "metadata": {"axes": "ZTYX"}, "compression": "zlib"},
        {"t": 2, "z": 3},
    ),
    "no names": (PLANES, {}, {"z": 6}),
}


@pytest.mark.parametrize("at_once", [2**26, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_planes_are_those_of_the_file(tmp_path, kind, at_once, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.setattr(tiff, "AT_ONCE", at_once)
    pixels, options, stack = KINDS[kind]
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with open_image(tmp_path / "a.tif", stacks=True) as raster:
        assert dict(raster.stack) == stack and raster.planes == 6
        for raster.plane in (5, 0, 4):
            np.testing.assert_array_equal(raster.whole()[..., 0], PLANES[raster.plane])
            part = raster.region(3, 4, 20, 30)[..., 0]
            np.testing.assert_array_equal(part, PLANES[raster.plane, 3:20, 4:30])
        assert raster.place == ({"t": 1, "z": 1} if len(stack) == 2 else {list(stack)[0]: 4})
        assert raster.where == (raster.place if len(stack) == 2 else {"plane": 4})
    with pytest.raises(DataError, match="a.tif is a stack with the axes .* --planes all"):
        open_image(tmp_path / "a.tif")


def test_five_dimensions(tmp_path):
    pixels = PLANES[:, :8, :9].repeat(2, axis=0).reshape(2, 3, 2, 8, 9)
    tifffile.imwrite(tmp_path / "a.tif", pixels, ome=True, metadata={"axes": "TZCYX"})
    with pytest.raises(DataError, match="a.tif has 2 channels; choose some of 0..1"):
        open_image(tmp_path / "a.tif", stacks=True)
    with open_image(tmp_path / "a.tif", [1], stacks=True) as raster:
        raster.plane = 4
        np.testing.assert_array_equal(raster.whole()[..., 0], pixels[1, 1, 1])
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, 5, 8, 9), np.uint8))  # what are 2 and 5?
    with pytest.raises(DataError, match="b.tif has the axes .* and a stack T and Z beside"):
        open_image(tmp_path / "b.tif", stacks=True)


def test_pages_that_were_added_one_by_one(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for plane in PLANES:
            file.write(plane, compression="zlib")
    with open_image(tmp_path / "a.tif", stacks=True) as raster:
        assert dict(raster.stack) == {"z": 6}
        raster.plane = 3
        np.testing.assert_array_equal(raster.whole()[..., 0], PLANES[3])


def test_planes_that_differ_are_no_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for plane in (PLANES[0], PLANES[1, :30]):
            file.write(plane)
    message = r"a.tif holds planes that differ \(50x30 of uint16, 50x40 of uint16\)"
    with pytest.raises(DataError, match=message):
        open_image(tmp_path / "a.tif", stacks=True)
    with open_image(tmp_path / "a.tif") as raster:  # the largest, with a warning
        assert raster.shape == (40, 50, 1)


def test_an_image_is_a_stack_of_one_plane(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANES[0])
    with open_image(tmp_path / "a.tif", stacks=True) as raster:
        assert not raster.stack and raster.planes == 1 and raster.where == {"plane": 0}
    assert tiff_series.size_of(tifffile.TiffFile(tmp_path / "a.tif").series[0]) == (40, 50)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_planes_of_ome_zarr(tmp_path, version):
    write = pytest.importorskip("ome_zarr_image").write
    pixels = PLANES.reshape(2, 1, 3, 40, 50)
    path = write(tmp_path / "a.zarr", pixels, "tczyx", version)
    with open_image(path, stacks=True) as raster:
        assert raster.stack == {"t": 2, "z": 3}
        assert raster.steps == {"t": (1.0, "second"), "z": (1.0, "micrometer")}
        raster.plane = 4
        np.testing.assert_array_equal(raster.whole()[..., 0], PLANES[4])
        np.testing.assert_array_equal(raster.thumbnail(25)[..., 0], PLANES[4, ::2, ::2])
