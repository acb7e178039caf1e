"""Small files that say they are large: refused before memory is spent."""

import io
import resource
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.decode import decode_image
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.images import image_kind, open_image, plain, raster, tiff


def png(width, height, bits=16, colour=2):
    """A PNG of this size in its header, and little behind it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def tif(width, height, bits=8, compression=1, data=bytes(3000)):
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: 1}
    tags |= {273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def jpeg(width, height):
    content = bytearray(cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


BOMBS = {
    "png": (png(46340, 46340), "46340x46340 pixels, where PNG may have 536870912"),
    "small png": (png(20000, 20000, 8, 0), "20000x20000 pixels, which its .* bytes cannot hold"),
    "jpeg": (jpeg(65500, 65500), "65500x65500 pixels, where JPEG may have"),
    "small jpeg": (jpeg(20000, 20000), "20000x20000 pixels, which its .* bytes cannot hold"),
    "pgm": (b"P5 60000 60000 255\n" + bytes(100), "60000x60000 pixels, where PPM may have"),
    "tiff": (tif(65535, 65537), "65535x65537 pixels, which its .* bytes cannot hold"),
    "a line": (tif(4294967295, 1), "4294967295x1 pixels, which its .* bytes cannot hold"),
    "zlib": (tif(65535, 65537, 16, 8), "65535x65537 pixels, which its .* bytes cannot hold"),
    "one strip": (tif(40000, 40000, 8, 8, bytes(400_000)), "strips or tiles of more than 1024 MiB"),
    "more in a strip": (tif(100, 100, 8, 8, zlib.compress(bytes(2**26))), "damaged"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(tmp_path, kind):
    content, words = BOMBS[kind]
    (tmp_path / "a.png").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (open_image, image_kind) if kind != "more in a strip" else (open_image,):
        with pytest.raises(DataError, match=f"a.png .*{words}"):
            read(tmp_path / "a.png")
    with FileSource(tmp_path) as files, pytest.raises(DataError, match=words):
        decode_image(files, "a.png")
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert spent < 100 * 1024  # KiB


def test_a_bomb_in_the_layout_of_dsb2018(tmp_path):
    for folder, content in (("images", png(9000, 9000, 8, 0)), ("masks", png(9, 9))):
        (tmp_path / "a" / folder).mkdir(parents=True)
        (tmp_path / "a" / folder / "a.png").write_bytes(content)
    problems = ProblemLog()
    assert not list(Dsb2018Reader(tmp_path, problems).read(workers=0))
    assert "9000x9000 pixels, which its" in problems.summary()


def test_blank_images_are_no_bombs(tmp_path):
    Image.new("1", (3000, 3000)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8000, 9000), np.uint8), compression="zlib")
    for name, shape in (("a.png", (3000, 3000, 1)), ("a.tif", (8000, 9000, 1))):
        with open_image(tmp_path / name) as image:
            assert image.shape == shape and not image.region(0, 0, 100, 100).any()


def test_a_large_tiff_is_read_in_parts_only(tmp_path, monkeypatch):
    pixels = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    monkeypatch.setattr(tiff, "AT_ONCE", 100)
    monkeypatch.setattr(raster, "LARGEST", 1999)
    monkeypatch.setattr(plain, "LARGEST", 1999)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    with open_image(tmp_path / "a.tif") as image:
        assert (image.region(10, 0, 20, 50)[..., 0] == pixels[10:20]).all()
        with pytest.raises(DataError, match="a.tif is too large to be read as a whole: 50x40"):
            image.whole()
    with pytest.raises(DataError, match="a.png is too large: 50x40 .* TIFF with tiles"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("how", ["large", "bzip2", "lies"])
def test_zip_bombs(tmp_path, how):
    kind = zipfile.ZIP_BZIP2 if how == "bzip2" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive:
        archive.writestr("a.png", bytes(2**20))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    place = content.index(b"PK\1\2") + 24  # of the size that it says it has
    if how != "bzip2":
        content[place : place + 4] = struct.pack("<I", 2**30 + 1 if how == "large" else 100)
    (tmp_path / "a.zip").write_bytes(content)
    words = {
        "large": "would unpack to 1.0 GiB",
        "bzip2": "packed in a way",
        "lies": "cannot be read",
    }
    with FileSource(tmp_path / "a.zip") as files, pytest.raises(DataError, match=words[how]):
        files.read("a.png")


def test_a_member_that_memory_cannot_hold(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"x")

    def read(*_):
        raise MemoryError

    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    with FileSource(tmp_path / "a.zip") as files, pytest.raises(DataError, match="needs more mem"):
        files.read("a.png")


def test_pixels_that_memory_cannot_hold(tmp_path, monkeypatch):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())

    def load(_):
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with FileSource(tmp_path) as files, pytest.raises(DataError, match="needs more memory"):
        decode_image(files, "a.png")
