"""PNG, JPEG, BMP and the other kinds that are read at once, told by their content."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from maskrcnnpp.errors import DataError
from maskrcnnpp.images.raster import LARGEST, ArrayRaster, Kind

PLAIN_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

# by Pillow's names: of 8 bits by definition, which Pillow reads without loss ...
_EIGHT_BITS = ("BMP", "DIB", "GIF", "JPEG", "PCX", "TGA", "WEBP")
# ... and of up to 16, which Pillow cuts to 8 where they have colour; OpenCV does not
_DEEP = ("JPEG2000", "PNG", "PPM")
_READ = "TIFF, PNG, JPEG, BMP, GIF, WebP, PGM, JPEG 2000, slides"

# No decoder makes more pixels of a byte: 8 bits of 1032 bytes, as deflate has at best. An empty
# WebP or JPEG 2000 takes next to nothing for any size, so these have a limit of their own.
_PIXELS_OF_A_BYTE = 8 * 1032
_LARGEST_OF = {"WEBP": 2**28, "JPEG2000": 2**27}
_PNG_BITS = 24  # place of the byte that says how many bits a sample has
_ORIENTATION = 274  # number of an EXIF tag
# by its value, what brings (height, width, channels) upright
_TURNS = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


def open_plain(path: Path, content: bytes | None = None) -> ArrayRaster:
    """Grey or colour, with the bits that it has, turned as EXIF says, as Detectron2 does.

    Raises:
        DataError: it is not an image of a kind that is read, is larger than a memory holds, or has
            several frames. Decoders raise other errors too.
    """
    content = path.read_bytes() if content is None else content
    with _opened(path, content) as image:
        check_size(path, image, len(content))
        _check_frames(path, image)
        image.load()  # raises where OpenCV would fill up a file that is cut short
        turned_by = orientation(image)  # after the pixels, behind which it may stand
        pixels = _decoded_by_opencv(path, content) if image.format in _DEEP else None
        # of less than 8 bits a PPM is made brighter by Pillow, and so by Detectron2
        if pixels is None or (image.format == "PPM" and pixels.dtype == np.uint8):
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if turned_by != 1:
        pixels = _TURNS[turned_by](pixels)
    raster = ArrayRaster(pixels, name=str(path))
    raster.orientation = turned_by
    return raster


def plain_kind(path: Path) -> Kind:
    """Kind of an image, by its header where that says it."""
    with open(path, "rb") as file, _opened(path, file) as image:
        bands = len(image.getbands())
        check_size(path, image, path.stat().st_size)
        _check_frames(path, image)
        # not what stands behind the pixels of a PNG, for which Pillow would decode it
        turned_by = orientation(image, Image.Image.getexif)
        if image.format not in _DEEP:
            return Kind("uint8", bands, orientation=turned_by)
        if image.format == "PNG":
            file.seek(_PNG_BITS)
            dtype = "uint16" if file.read(1) == b"\x10" else "uint8"
            return Kind(dtype, bands, orientation=turned_by)
    with open_plain(path) as raster:
        return Kind(str(raster.dtype), raster.shape[2])


def plain_size(path: Path) -> tuple[int, int]:
    """Height and width as the image is seen, of which the header is read."""
    with _opened(path, path) as image:
        turned_by = orientation(image) if image.format != "PNG" or _has_exif(path) else 1
        return image.size if turned_by > 4 else image.size[::-1]


def _has_exif(path: Path) -> bool:
    # Pillow decodes all of a PNG to look for what may stand at its end
    content = path.read_bytes()
    return any(mark in content for mark in (b"eXIf", b"exif", b"Orientation"))


@contextmanager
def _opened(path: Path, source: bytes | io.BufferedIOBase | Path) -> Iterator[Image.Image]:
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # the limit of photographs; see check_size
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=[*_EIGHT_BITS, *_DEEP]) as image:
            yield image
    except UnidentifiedImageError as error:  # whose message has an address of the memory
        what = f"it is not an image of a kind that is known ({_READ}); save it as TIFF or PNG"
        if source == b"":
            what = "it is empty"
        raise DataError(f"{path} cannot be read as an image: {what}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def check_size(path: Path | str, image: Image.Image, length: int) -> None:
    """Check that an image does not take too much memory, before it is unpacked.

    Args:
        path: for the message.
        image: of which only the header is read.
        length: bytes of its file.

    Raises:
        DataError: it does, by what the header says.
    """
    width, height = image.size
    largest = _LARGEST_OF.get(image.format, LARGEST)
    if width * height > largest:
        raise DataError(
            f"{path} is too large: {width}x{height} pixels, where {image.format} may have "
            f"{largest}; save it as a TIFF with tiles, which is read in parts, or cut it in pieces"
        )
    if image.format not in _LARGEST_OF and width * height > _PIXELS_OF_A_BYTE * length:
        raise DataError(
            f"{path} says that it has {width}x{height} pixels, which its {length} bytes cannot "
            "hold: it is damaged, or made to fill the memory; fetch or save it again"
        )


def _check_frames(path: Path, image: Image.Image) -> None:
    # those of an MPO are small versions for the display of a camera
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise DataError(
            f"{path} has {image.n_frames} frames; an image has one: save them one by one"
        )


def _decoded_by_opencv(path: Path, content: bytes) -> np.ndarray:
    """(height, width) or (height, width, channels), red first."""
    how = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), how)
    if pixels is None:
        raise DataError(f"{path} cannot be read as an image; save it as TIFF or PNG")
    if pixels.ndim < 3 or pixels.shape[2] < 3:
        return pixels
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def orientation(
    image: Image.Image, getexif: Callable[[Image.Image], Image.Exif] | None = None
) -> int:
    """How an image is to be turned, 2 to 8, by EXIF; 1, not at all, where that says nothing."""
    try:
        found = (getexif(image) if getexif else image.getexif()).get(_ORIENTATION, 1)
        return found if found in _TURNS else 1
    except Exception:  # no metadata is worth an image; Detectron2 does without them too
        return 1
