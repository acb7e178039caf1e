"""Images are what their content says, with all their bits, or are refused."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from detectron2.data import detection_utils
from PIL import Image

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import image_kind, image_size, open_image

RANDOM = np.random.default_rng(0)
DEEP = RANDOM.integers(0, 4096, (40, 64), dtype=np.uint16)
DEEP_COLOUR = RANDOM.integers(0, 4096, (40, 64, 3), dtype=np.uint16)
GREY = RANDOM.integers(0, 256, (40, 64), dtype=np.uint8)


def pixels_of(path, channels=None):
    with open_image(path, channels) as raster:
        return raster.whole()


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def by_opencv(ending, pixels, *options):
    return cv2.imencode(ending, pixels[..., ::-1] if pixels.ndim == 3 else pixels, list(options))[
        1
    ].tobytes()


def pnm(magic, pixels, maxval):
    height, width = pixels.shape[:2]
    numbers = pixels.astype(">u2" if maxval > 255 else np.uint8)
    return f"{magic}\n# by hand\n{width} {height}\n{maxval}\n".encode() + numbers.tobytes()


JP2 = (cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)  # without loss


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        *((f"a.{end}", tiff(DEEP), DEEP) for end in ("lsm", "stk", "flex", "dat", "png", "jpg")),
        ("a.btf", tiff(DEEP, bigtiff=True), DEEP),
        ("a.tf8", tiff(DEEP, bigtiff=True, byteorder=">"), DEEP),
        ("no_ending", tiff(DEEP, compression="lzw", predictor=2, byteorder=">"), DEEP),
        ("a.svs", tiff(DEEP, tile=(16, 16)), DEEP),
        ("half.bmp", tiff((DEEP / 4096).astype(np.float16)), (DEEP / 4096).astype(np.float16)),
        ("colour.gif", tiff(DEEP_COLOUR, photometric="rgb"), DEEP_COLOUR),
        ("png.jpg", by_opencv(".png", DEEP), DEEP),
        ("png.tif", by_opencv(".png", DEEP_COLOUR), DEEP_COLOUR),
        ("a.jp2", by_opencv(".jp2", DEEP, *JP2), DEEP),
        ("colour.jp2", by_opencv(".jp2", DEEP_COLOUR, *JP2), DEEP_COLOUR),
        ("a.pgm", pnm("P5", DEEP, 4095), DEEP),
        ("pgm.jpeg", pnm("P5", DEEP, 65535), DEEP),
        ("a.ppm", pnm("P6", DEEP_COLOUR, 4095), DEEP_COLOUR),
        ("dark.pgm", pnm("P5", GREY, 255), GREY),
    ],
)
def test_content_counts_not_the_ending(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    found = pixels_of(tmp_path / name)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected.reshape(40, 64, -1))
    kind = image_kind(tmp_path / name)
    assert (kind.dtype, kind.channels) == (str(expected.dtype), found.shape[2])
    assert image_size(tmp_path / name) == (40, 64)


def test_12_bits_without_gaps(tmp_path):
    first, second = DEEP.reshape(-1, 2).astype(np.uint32).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    content = packed.astype(np.uint8).tobytes()
    tags = {256: 64, 257: 40, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 40, 279: len(content)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    file = head + content + struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(file)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.tif")[..., 0], DEEP)


@pytest.mark.parametrize(
    "options", [{}, {"format": "GIF"}, {"format": "WEBP", "lossless": True}, {"format": "PPM"}]
)
def test_8_bits_are_what_detectron2_reads(tmp_path, options):
    Image.fromarray(np.dstack([GREY] * 3)).save(tmp_path / "a.png", **options)
    found = pixels_of(tmp_path / "a.png")
    assert (found == detection_utils.read_image(str(tmp_path / "a.png"), "RGB")).all()
    (tmp_path / "of_100.pgm").write_bytes(pnm("P5", GREY // 3, 100))
    expected = detection_utils.read_image(str(tmp_path / "of_100.pgm"), "L")
    assert (pixels_of(tmp_path / "of_100.pgm") == expected).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_several_frames_none_is_chosen(tmp_path, kind):
    frames = [Image.fromarray(array) for array in (GREY, 255 - GREY)]
    frames[0].save(tmp_path / "a.gif", kind, save_all=True, append_images=frames[1:])
    for read in (open_image, image_kind):
        with pytest.raises(DataError, match="a.gif has 2 frames; .* save them one by one"):
            read(tmp_path / "a.gif")


@pytest.mark.parametrize("kind", ["ICO", "SGI", "AVIF", "EPS"])
def test_kinds_that_may_lose_something_are_refused(tmp_path, kind):
    Image.fromarray(np.dstack([GREY] * 3)).save(tmp_path / "a.png", kind)
    with pytest.raises(DataError, match="a.png cannot be read .*not an image of a .* as TIFF or"):
        open_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="a.png cannot be read"):
        image_kind(tmp_path / "a.png")


def test_less_than_8_bits_of_a_tiff_are_refused(tmp_path):
    content = bytearray(tiff(GREY[:, :32]))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = file.pages[0].tags
        for code, value in ((258, 4), (256, 64)):
            content[tags[code].valueoffset : tags[code].valueoffset + 2] = struct.pack("<H", value)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match="a.tif has 4 bits a pixel.*: save it with 8 bits"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("channels", "options", "shown"),
    [
        (2, {"photometric": "minisblack", "extrasamples": ["unspecified"]}, None),
        (4, {"photometric": "rgb", "extrasamples": ["unspecified"]}, None),
        (5, {"photometric": "rgb", "extrasamples": ["unassalpha", "unspecified"]}, None),
        (2, {"photometric": "minisblack", "extrasamples": ["unassalpha"]}, 1),
        (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}, 3),
    ],
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_only_what_says_that_it_is_alpha_is_left_out(tmp_path, channels, options, shown, planar):
    pixels = RANDOM.integers(0, 4096, (40, 64, channels), dtype=np.uint16)
    stored = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels
    tifffile.imwrite(tmp_path / "a.tif", stored, planarconfig=planar, **options)
    if shown is None:
        with pytest.raises(DataError, match=f"a.tif has {channels} channels; choose some of"):
            open_image(tmp_path / "a.tif")
        shown = channels
        assert not image_kind(tmp_path / "a.tif").is_colour
    found = pixels_of(tmp_path / "a.tif", range(shown))
    np.testing.assert_array_equal(found, pixels[..., :shown])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"planarconfig": "separate"}])
def test_colours_that_were_multiplied_by_alpha_are_what_detectron2_reads(tmp_path, options):
    pixels = RANDOM.integers(0, 256, (40, 64, 4), dtype=np.uint8)
    pixels[:10, ..., 3] = 255
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
    about = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", stored, **about, **options)
    found = pixels_of(tmp_path / "a.tif")
    assert (found[:10] == pixels[:10, ..., :3]).all() and found.shape == (40, 64, 3)
    if "planarconfig" not in options:  # which Pillow cannot read
        assert (found == detection_utils.read_image(str(tmp_path / "a.tif"), "RGB")).all()


def ome(*images):
    """OME-XML of images of width, height and micrometres a pixel, and their TIFF."""
    text = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    file = io.BytesIO()
    for number, (width, height, size) in enumerate(images):
        text += (
            f'<Image ID="Image:{number}"><Pixels DimensionOrder="XYCZT" SizeC="1" SizeT="1" '
            f'SizeX="{width}" SizeY="{height}" SizeZ="1" Type="uint8" PhysicalSizeX="{size}" '
            f'PhysicalSizeY="{size}"><TiffData IFD="{number}" PlaneCount="1"/></Pixels></Image>'
        )
    with tifffile.TiffWriter(file) as writer:
        for number, (width, height, _) in enumerate(images):
            description = text + "</OME>" if not number else None
            pixels = np.zeros((height, width), np.uint8)
            writer.write(pixels, description=description, metadata=None, photometric="minisblack")
    return file.getvalue()


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([(8, 8, 2.0), (32, 24, 0.25)], 0.25),
        ([(32, 24, 0.25), (8, 8, 2.0)], 0.25),
        ([(32, 24, 0.5), (8, 8, 2.0), (32, 24, 0.25)], 0.5),
    ],
)
def test_the_pixel_size_is_that_of_the_image_that_is_read(tmp_path, images, expected):
    (tmp_path / "a.ome.tif").write_bytes(ome(*images))
    with open_image(tmp_path / "a.ome.tif") as raster:
        assert (raster.height, raster.width) == (24, 32) and raster.micrometres == expected


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (32, 32)}])
@pytest.mark.parametrize("how", ["fewer", "empty", "none"])
def test_lacking_strips_and_tiles_are_not_black(tmp_path, options, how):
    rows = {} if "tile" in options else {"rowsperstrip": 10}
    content = bytearray(tiff(DEEP, **rows, **options))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        names = ("TileOffsets", "TileByteCounts") if "tile" in options else ("StripOffsets",)
        names = (*names, "StripByteCounts") if "tile" not in options else names
        for name in names:
            tag = file.pages[0].tags[name]
            size = {3: 2, 4: 4}[tag.dtype]
            if how == "fewer":  # the list ends after the second one
                content[tag.offset + 4 : tag.offset + 8] = struct.pack("<I", 2)
                if size * 2 <= 4:  # then they stand in the entry itself
                    start = tag.valueoffset
                    content[tag.offset + 8 : tag.offset + 12] = content[start : start + 4]
            else:
                first = 0 if how == "none" else 3
                start = tag.valueoffset + first * size
                content[start : tag.valueoffset + 4 * size] = bytes((4 - first) * size)
    (tmp_path / "a.tif").write_bytes(content)

    with pytest.raises(
        DataError, match=r"a.tif has \d of the 4 strips or tiles .* be black: fetch"
    ):
        open_image(tmp_path / "a.tif")
