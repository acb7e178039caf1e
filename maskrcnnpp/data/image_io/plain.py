"""PNG, JPEG and BMP, read at once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from maskrcnnpp.data.image_io.raster import ArrayRaster, Raster
from maskrcnnpp.errors import DataError

PLAIN_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

_LARGEST = 2**32  # pixels
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


def open_plain(path: Path, content: bytes | None = None) -> Raster:
    """Grey or colour, 8 or 16 bits, turned as EXIF says.

    Raises:
        DataError: no image is found in it. Decoders raise other errors too.
    """
    content = path.read_bytes() if content is None else content
    try:
        pixels = _pixels(path, content)
    except UnidentifiedImageError as error:  # whose message has an address of the memory
        what = "it is no image of a kind that is known" if content else "it is empty"
        raise DataError(f"{path} cannot be read as an image: {what}") from error
    return ArrayRaster(pixels, name=str(path))


def _pixels(path: Path, content: bytes) -> np.ndarray:
    with _any_size(), Image.open(io.BytesIO(content)) as image:
        image.load()  # raises where OpenCV would fill up a file that is cut short
        turn = _TURNS.get(orientation(image))  # after the pixels, behind which it may stand
        if path.suffix.lower() != ".png":
            image = ImageOps.exif_transpose(image)
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
            return pixels.reshape(*pixels.shape[:2], -1)
    # not through Pillow: it has no 16-bit colour
    pixels = cv2.imdecode(
        np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if pixels is None:
        raise DataError(f"{path} cannot be read as an image")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    pixels = pixels if turn is None else turn(pixels)  # as Detectron2 does for training
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 2 else pixels


def orientation(image: Image.Image) -> int:
    """How an image is to be turned, 1 to 8, by EXIF; 1, not at all, where that says nothing."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # no metadata is worth an image; Detectron2 does without them too
        return 1


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow open what is larger than photographs are."""
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = _LARGEST // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual
