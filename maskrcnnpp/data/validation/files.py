"""The size of an image file, of which only the header is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tifffile
from PIL import Image

from maskrcnnpp.data.image_io.tiff import TIFF_SUFFIXES
from maskrcnnpp.data.readers.source import escapes
from maskrcnnpp.errors import DataError

_EXIF_ORIENTATION = 274
_LYING = (5, 6, 7, 8)  # orientations of which height and width change places


def file_name_problem(name: Any) -> str:
    """Why an image's ``file_name`` cannot be used; empty where it can."""
    if name is None:
        return "no file_name"
    if not isinstance(name, str) or not name.strip():
        return "file_name is no text, or an empty one"
    if "\0" in name or escapes(name):
        return "file_name leads out of the folder of images; name files relative to it"
    return ""


def file_size(root: Path, name: str) -> tuple[int, int]:
    """Height and width of the image ``name`` below ``root``, as it is seen: turned as EXIF says.

    Raises:
        DataError: it is missing or no image. The message holds the reason only.
    """
    path = root / name
    try:
        if not path.is_file():
            raise DataError(f"there is no such file in {root}")
        if path.suffix.lower() in TIFF_SUFFIXES:
            return _tiff_size(path)
        return _plain_size(path)
    except DataError:
        raise
    except Exception as error:  # of decoders, which raise what they like
        raise DataError(f"cannot be read as an image ({error or type(error).__name__})") from error


def _tiff_size(path: Path) -> tuple[int, int]:
    with tifffile.TiffFile(path) as file:
        sizes = [dict(zip(series.axes, series.shape)) for series in file.series]
    planes = [(size["Y"], size["X"]) for size in sizes if {"Y", "X"} <= set(size)]
    if not planes:
        raise DataError("holds no image")
    return max(planes, key=math.prod)


def _plain_size(path: Path) -> tuple[int, int]:
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # no pixel is decoded, however many there are
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.getexif().get(_EXIF_ORIENTATION) in _LYING:
                return width, height
            return height, width
    finally:
        Image.MAX_IMAGE_PIXELS = usual
