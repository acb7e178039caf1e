"""Images that are read in parts."""

import sys

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import ArrayRaster, open_image, tiff

HEIGHT, WIDTH = 100, 150
RANDOM = np.random.default_rng(0)
PLANE = RANDOM.integers(0, 2**16, (HEIGHT, WIDTH), dtype=np.uint16)
COLOUR = RANDOM.integers(0, 2**8, (HEIGHT, WIDTH, 3), dtype=np.uint8)
CHANNELS = RANDOM.integers(0, 2**16, (5, HEIGHT, WIDTH), dtype=np.uint16)
TILE = {"tile": (32, 48)}
LITTLE = 7000  # bytes: less than the images here have, more than one of their tiles

#: What is written, how, the channels to read, and what is to be seen.
KINDS = {
    "plain": (PLANE, {}, None, PLANE[..., None]),
    "big endian": (PLANE, {"byteorder": ">"}, None, PLANE[..., None]),
    "strips": (PLANE, {"compression": "zlib", "rowsperstrip": 7}, None, PLANE[..., None]),
    "one strip": (PLANE, {"compression": "zlib", "rowsperstrip": HEIGHT}, None, PLANE[..., None]),
    "tiles": (PLANE, {"compression": "zlib", **TILE}, None, PLANE[..., None]),
    "tiles, plain": (PLANE, TILE, None, PLANE[..., None]),
    "LZW": (PLANE, {"compression": "lzw", "predictor": 2, **TILE}, None, PLANE[..., None]),
    "float": (PLANE / np.float32(7), {"compression": "zlib"}, None, PLANE[..., None] / 7),
    "colour": (COLOUR, {"photometric": "rgb", "compression": "zlib", **TILE}, None, COLOUR),
    "colour, one": (COLOUR, {"photometric": "rgb", **TILE}, [1], COLOUR[..., 1:2]),
    "planar": (
        COLOUR.transpose(2, 0, 1),
        {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib", **TILE},
        None,
        COLOUR,
    ),
    "channels": (
        CHANNELS,
        {"ome": True, "metadata": {"axes": "CYX"}, "compression": "zlib", **TILE},
        [4, 0, 2],
        CHANNELS[[4, 0, 2]].transpose(1, 2, 0),
    ),
    "channels, plain": (
        CHANNELS,
        {"ome": True, "metadata": {"axes": "CYX"}},
        [3],
        CHANNELS[3][..., None],
    ),
    "white is zero": (PLANE, {"photometric": "miniswhite"}, None, 65535 - PLANE[..., None]),
    "bits": (
        PLANE > 999,
        {"photometric": "minisblack", "compression": "zlib"},
        None,
        np.uint8(255) * (PLANE > 999)[..., None],
    ),
    "palette": (
        COLOUR[..., 0],
        {"photometric": "palette", "colormap": np.uint16(257) * COLOUR[:2, :128].reshape(3, 256)},
        None,
        COLOUR[:2, :128].reshape(3, 256)[:, COLOUR[..., 0]].transpose(1, 2, 0),
    ),
}


@pytest.fixture(params=[LITTLE, 2**26], ids=["in parts", "at once"])
def at_once(request, monkeypatch):
    monkeypatch.setattr(tiff, "AT_ONCE", request.param)
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_regions_of_a_tiff(tmp_path, at_once, kind):
    pixels, options, channels, expected = KINDS[kind]
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with open_image(tmp_path / "a.tif", channels) as raster:
        assert isinstance(raster, tiff.TiffRaster) == (at_once == LITTLE)
        assert raster.shape == expected.shape
        for top, left, bottom, right in [(0, 0, 100, 150), (30, 45, 71, 99), (99, 149, 100, 150)]:
            found = raster.region(top, left, bottom, right)
            assert found.dtype == raster.dtype and found.dtype.isnative
            np.testing.assert_allclose(found, expected[top:bottom, left:right], rtol=1e-6)
        np.testing.assert_allclose(np.concatenate([b[2] for b in raster.blocks(150)]), expected)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), side=st.integers(1, 60), largest=st.integers(1, 200))
def test_blocks_cover_an_image_and_a_thumbnail_shows_it(data, side, largest):
    height, width = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 120))
    pixels = np.full((height, width, 1), 7, np.uint8)
    raster = ArrayRaster(pixels)
    seen = np.zeros((height, width), int)
    for top, left, part in raster.blocks(side):
        seen[top : top + part.shape[0], left : left + part.shape[1]] += 1
    assert (seen == 1).all()
    small = raster.thumbnail(largest)
    assert max(small.shape[:2]) <= max(largest, 1) and (small == 7).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_thumbnail_is_the_mean_of_what_it_shows(dtype, channels, monkeypatch):
    monkeypatch.setattr("maskrcnnpp.images.raster._BLOCK", 16)  # several blocks
    pixels = RANDOM.integers(0, 200, (60, 90, channels)).astype(dtype)
    small = ArrayRaster(pixels).thumbnail(30)
    assert small.shape == (20, 30, channels)
    means = pixels.reshape(20, 3, 30, 3, channels).mean(axis=(1, 3))
    np.testing.assert_allclose(small, means, atol=0.51 if np.issubdtype(dtype, np.integer) else 0.1)


def pyramid(path, **options):
    """A TIFF with a level of half the size, which differs so that it can be told apart."""
    with tifffile.TiffWriter(path, **options) as writer:
        about = {"tile": (32, 32), "photometric": "rgb", "compression": "zlib"}
        writer.write(COLOUR, subifds=1, metadata={"axes": "YXS"}, **about)
        writer.write(np.full((50, 75, 3), 9, np.uint8), subfiletype=1, **about)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
def test_a_pyramid(tmp_path, monkeypatch, name):
    monkeypatch.setattr(tiff, "AT_ONCE", LITTLE)
    pyramid(tmp_path / name, ome=name.endswith("ome.tif"))
    with open_image(tmp_path / name) as raster:
        assert (raster.region(0, 0, HEIGHT, WIDTH) == COLOUR).all()
        assert (raster.thumbnail(60) == 9).all()
        assert raster.thumbnail(60).shape == (25, 38, 3)
        assert (raster.thumbnail(100) != 9).any()  # for which the small level is too small
        raster.choose([1])
        assert raster.thumbnail(60).shape == (25, 38, 1)
        assert (raster.region(0, 0, HEIGHT, WIDTH)[..., 0] == COLOUR[..., 1]).all()


def slide(path):
    """In the place of a scanner's file: a tiled TIFF, which OpenSlide reads by its content."""
    tifffile.imwrite(
        path, COLOUR, tile=(64, 64), photometric="rgb", compression="zlib", metadata=None
    )


def test_a_slide(tmp_path):
    pytest.importorskip("openslide")
    slide(tmp_path / "a.svs")
    with open_image(tmp_path / "a.svs") as raster:
        assert raster.shape == COLOUR.shape and raster.micrometres is None
        assert (raster.region(10, 20, 90, 140) == COLOUR[10:90, 20:140]).all()
        assert raster.thumbnail(60).shape == (34, 50, 3)
    with open_image(tmp_path / "a.svs", [2]) as raster:
        assert (raster.region(0, 0, 100, 150) == COLOUR[..., 2:]).all()
        assert raster.thumbnail(60).shape == (34, 50, 1)


class Scanned:
    """In the place of OpenSlide's: a slide of which a part was scanned, with a smaller level."""

    level_downsamples = (1.0, 2.0)
    dimensions = (WIDTH, HEIGHT)
    properties = {
        f"openslide.bounds-{k}": v
        for k, v in zip(("x", "y", "width", "height"), ("20", "10", "100", "80"))
    } | {"openslide.mpp-x": "much"}

    def __init__(self, path):
        self.levels = [COLOUR, COLOUR[::2, ::2]]

    def get_best_level_for_downsample(self, factor):
        return int(factor >= 2)

    def read_region(self, place, level, size):
        x, y = (round(p / self.level_downsamples[level]) for p in place)
        return Image.fromarray(self.levels[level][y : y + size[1], x : x + size[0]]).convert("RGBA")


def test_the_part_of_a_slide_that_was_scanned(tmp_path, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("openslide"), "OpenSlide", Scanned)
    raster = open_image(tmp_path / "a.mrxs")
    assert raster.shape == (80, 100, 3) and raster.micrometres is None
    assert (raster.region(5, 7, 80, 100) == COLOUR[15:90, 27:120]).all()
    assert (raster.thumbnail(50) == COLOUR[10:90:2, 20:120:2]).all()


def test_a_slide_that_cannot_be_read(tmp_path, monkeypatch):
    pytest.importorskip("openslide")
    (tmp_path / "a.svs").write_text("no slide")
    with pytest.raises(DataError, match="a.svs cannot be read as an image"):
        open_image(tmp_path / "a.svs")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(DataError, match=r"a.svs is a slide, .*pip install 'maskrcnnpp\[slides\]'"):
        open_image(tmp_path / "a.svs")


def test_packages_that_a_tiff_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "AT_ONCE", LITTLE)
    tifffile.imwrite(tmp_path / "a.tif", PLANE, compression="zlib", rowsperstrip=7)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(DataError, match=r"a.tif is too large .* zarr: pip install"):
        open_image(tmp_path / "a.tif")
    monkeypatch.setattr(tiff.tifffile, "TIFF", type("Without", (), NO_CODECS))
    with pytest.raises(DataError, match=r"a.tif is compressed .*ADOBE_DEFLATE.* imagecodecs: pip"):
        open_image(tmp_path / "a.tif")


NO_CODECS = {"DECOMPRESSORS": {1: None}, "UNPREDICTORS": {1: None}}


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", **TILE}, {"compression": "zlib"}])
def test_a_large_tiff_that_is_cut_short(tmp_path, at_once, options):
    tifffile.imwrite(tmp_path / "whole.tif", PLANE, **options)
    content = (tmp_path / "whole.tif").read_bytes()
    for part in (0.1, 0.5, 0.99):
        (tmp_path / "cut.tif").write_bytes(content[: int(part * len(content))])
        with pytest.raises(DataError, match="cut.tif"):
            open_image(tmp_path / "cut.tif")


def test_damage_inside_is_told_with_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "AT_ONCE", LITTLE)
    tifffile.imwrite(tmp_path / "a.tif", PLANE, compression="zlib", **TILE)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset = file.pages[0].dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[offset : offset + 40] = bytes(40)
    (tmp_path / "a.tif").write_bytes(content)
    with open_image(tmp_path / "a.tif") as raster:
        assert (raster.region(40, 60, 90, 140)[..., 0] == PLANE[40:90, 60:140]).all()
        with pytest.raises(DataError, match="a.tif is damaged: rows 0 to 10, columns 0 to 9"):
            raster.region(0, 0, 10, 9)
        with pytest.raises(DataError, match="a.tif is damaged"):
            raster.thumbnail(20)


def test_an_oblong_pixel_has_no_side(tmp_path):
    for height, expected in ((0.25, 0.25), (0.5, None)):
        metadata = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": height}
        tifffile.imwrite(tmp_path / "a.ome.tif", PLANE, metadata=metadata)
        assert open_image(tmp_path / "a.ome.tif").micrometres == expected


def test_grey_with_alpha(tmp_path):
    Image.fromarray(COLOUR[..., :2].copy(), mode="LA").save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as raster:
        assert (raster.region(0, 0, 9, 9) == COLOUR[:9, :9, :1]).all()
    assert cv2.imread(str(tmp_path / "a.png")) is not None


@pytest.mark.parametrize(
    ("pixels", "options", "channels"),
    [
        (COLOUR.repeat(2, axis=2)[..., :4], {"photometric": "separated"}, 4),
        (COLOUR.repeat(2, axis=2)[..., :4], {"photometric": "minisblack"}, 4),
        (COLOUR, {"photometric": "cielab"}, 3),
    ],
)
def test_samples_that_are_no_red_green_and_blue(tmp_path, pixels, options, channels):
    tifffile.imwrite(tmp_path / "a.tif", pixels, planarconfig="contig", **options)
    with pytest.raises(DataError, match=f"a.tif has {channels} channels; choose"):
        open_image(tmp_path / "a.tif")
    with open_image(tmp_path / "a.tif", [2]) as raster:
        assert (raster.region(0, 0, HEIGHT, WIDTH) == pixels[..., 2:3]).all()


def test_channels_with_a_colour_map(tmp_path):
    options = {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}
    pixels = CHANNELS.astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": "CYX"}, **options)
    with open_image(tmp_path / "a.ome.tif", [4]) as raster:
        assert (raster.region(0, 0, HEIGHT, WIDTH)[..., 0] == pixels[4]).all()


def test_one_of_several_images_in_a_file(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((8, 9), np.uint8))
        writer.write(PLANE)
    assert open_image(tmp_path / "a.tif").shape == (HEIGHT, WIDTH, 1)
    assert "holds 2 images; number 2, of 100x150 pixels, is taken" in caplog.text


def test_files_that_are_one_image_together(tmp_path):
    names = ("a.ome.tif", "b.ome.tif")
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{k}" for k in (1, 2)]
    parts = "".join(
        f'<TiffData FirstC="{k}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID>'
        "</TiffData>"
        for k, (name, uuid) in enumerate(zip(names, uuids))
    )
    for name, uuid in zip(names, uuids):
        description = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuid}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
            f'Type="uint16" SizeX="{WIDTH}" SizeY="{HEIGHT}" SizeC="2" SizeZ="1" SizeT="1">'
            f"{parts}</Pixels></Image></OME>"
        )
        tifffile.imwrite(tmp_path / name, PLANE, description=description, metadata=None)
    with pytest.raises(DataError, match="one of several files of an image"):
        open_image(tmp_path / "a.ome.tif")


def test_odd_metadata_is_no_reason_to_refuse_an_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, imagej=True, resolution=(4, 4))
    content = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages[0].tags["XResolution"].valueoffset
    (tmp_path / "a.tif").write_bytes(content[:place] + bytes(8) + content[place + 8 :])
    assert open_image(tmp_path / "a.tif").micrometres is None
