"""Label images as arrays of integers. Errors hold the reason only; the caller knows the name."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

import numpy as np
import tifffile
from PIL import Image, ImageOps

from maskrcnnpp.convert.pairing import JPEG_SUFFIXES
from maskrcnnpp.convert.readers.cellpose import SEG_ENDING, cellpose_masks
from maskrcnnpp.convert.readers.decode import as_labels, decode_pixels
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.tiff import is_tiff, is_white_zero


def decode_labels(files: FileSource, name: str) -> np.ndarray:
    """A label image: integers (height, width), 0 is background.

    Of a palette the numbers count, not the colours. Where colours are stored, every colour but
    black is a label.

    Raises:
        DataError: it cannot be read, is not a label image, has negative labels, or such as are no
            integers.
    """
    suffix = PurePosixPath(name).suffix.lower()
    content = files.read(name)
    if suffix in JPEG_SUFFIXES:
        raise DataError(
            "is a JPEG file, whose numbers are not those that were saved: save the labels as PNG "
            "or TIFF from what they were made of, or name --format binary for a foreground mask"
        )
    if name.lower().endswith(SEG_ENDING):
        return as_labels(cellpose_masks(content))
    if suffix == ".npy":
        labels = _array(content)
        return as_labels(labels[..., 0] if labels.ndim == 3 and labels.shape[2] == 1 else labels)
    if is_tiff(content):
        return as_labels(_of_tiff(content, name))
    return as_labels(_of_plain(content, name))


def _of_tiff(content: bytes, name: str) -> np.ndarray:
    """The numbers of a TIFF's pixels, also where 0 is white, which readers of images turn round.

    tifffile writes boolean arrays so, and ImageJ masks: there, too, what is not 0 is object.
    """
    pixels = decode_pixels(content, name)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            numbers = page.asarray().squeeze()
            if numbers.shape == pixels.shape[:2]:
                _check_palette(numbers, np.asarray(page.colormap).T)
                return numbers
        is_inverted = is_white_zero(page)
    if is_inverted and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    return _without_colour(pixels)


def _of_plain(content: bytes, name: str) -> np.ndarray:
    """The numbers of the pixels of a PNG or BMP file."""
    pixels = decode_pixels(content, name)  # also finds damage
    with Image.open(io.BytesIO(content)) as image:
        if image.mode == "P":
            numbers = np.asarray(ImageOps.exif_transpose(image))
            _check_palette(numbers, np.array(image.getpalette("RGB")).reshape(-1, 3))
            return numbers
        if image.mode in ("LA", "PA", "RGBA"):
            transparent = np.asarray(ImageOps.exif_transpose(image).getchannel("A")) == 0
            if pixels[transparent].any():
                raise DataError(
                    "has labels where it is transparent: what counts there? save it without alpha"
                )
    return _without_colour(pixels)


def _check_palette(numbers: np.ndarray, colours: np.ndarray) -> None:
    """Check that the colours of a palette do not make another number than 0 the background.

    Raises:
        DataError: another number than 0 is black.
    """
    used = np.unique(numbers)
    used = used[used < len(colours)]
    black = [int(number) for number in used if number and not colours[number].any()]
    if black and colours[0].any():
        raise DataError(
            f"has a palette in which {black[0]} is black and 0 is not: which is the background? "
            "save the numbers as a grey image"
        )


def _without_colour(pixels: np.ndarray) -> np.ndarray:
    """One number a pixel of (height, width, channels)."""
    if pixels.shape[2] != 3:
        return pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        return pixels
    red, green, blue = np.moveaxis(pixels.astype(np.int64), 2, 0)
    return (red << 32) + (green << 16) + blue


def _array(content: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(
                "holds objects of Python, not an array of numbers: save the labels alone, such as "
                "its inst_map, with numpy.save"
            ) from error
        raise DataError(f"is not an array of NumPy ({error})") from error
