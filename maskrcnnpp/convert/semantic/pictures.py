"""Pixels and raw labels of pictures and of TIFF stacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from maskrcnnpp.errors import DataError, first_line
from maskrcnnpp.images import open_all_channels
from maskrcnnpp.images.files import is_tiff_file
from maskrcnnpp.images.plain import orientation
from maskrcnnpp.images.tiff import is_white_zero
from maskrcnnpp.images.tiff_checks import check_pixels_are_there, check_upright

_NOT_PLANE = set("YXCS")  # axes of TIFF that are no pile of planes
_LARGEST = 2**31


def read_picture(path: Path) -> np.ndarray:
    """Pixels of a picture.

    Returns:
        (height, width) or (height, width, 3), of the type that they have, without alpha.

    Raises:
        DataError: it cannot be read, or has channels that are no colours.
    """
    with open_all_channels(path) as raster:
        raster.choose(None)
        raster.check_upright()
        pixels = raster.whole()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def to_bytes(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """uint8: the limits become 0 and 255, what is beyond them these. All 0 where they are equal."""
    low, high = limits
    span = high - low if high > low else 1.0
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / span)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def check_finite(values: np.ndarray, file: str) -> None:
    """Raise a DataError that names the file where a value is NaN or infinite."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{file} has values that are NaN or infinite: replace them first")


def read_raw_picture(path: Path) -> np.ndarray:
    """Raw values of a label picture; of one with a palette, the numbers of its entries.

    Returns:
        integers (height, width); 0 and 255 of black and white.

    Raises:
        DataError: it cannot be read, or see :func:`one_channel`.
    """
    try:
        if is_tiff_file(path):
            with tifffile.TiffFile(path) as file:
                page = file.pages[0]
                if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                    check_upright(path, page)
                    check_pixels_are_there(path, file, file.series[0])
                    return one_channel(page.asarray(), str(path))
        else:
            with Image.open(path) as picture:
                if picture.mode == "P" and orientation(picture) == 1:
                    return one_channel(np.array(picture), str(path))
    except DataError:
        raise
    except Exception as error:  # of decoders, which raise what they like
        raise DataError(f"{path} cannot be read as a label image: {first_line(error)}") from error
    with open_all_channels(path) as raster:
        raster.check_upright()
        return one_channel(raster.whole(), str(path))


def one_channel(pixels: np.ndarray, file: str) -> np.ndarray:
    """Labels that may be saved as RGB or floats, as what they are.

    Args:
        pixels: (height, width) or (height, width, channels), any type.
        file: for messages.

    Returns:
        integers (height, width).

    Raises:
        DataError: channels differ, or values are no whole numbers.
    """
    check_finite(pixels, file)
    if pixels.ndim == 3:
        colours = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]  # without alpha
        if pixels.shape[2] > 4 or (colours != colours[..., :1]).any():
            raise DataError(
                f"{file} has labels of several channels that differ; save it with one channel, "
                "a number for each class"
            )
        pixels = colours[..., 0]
    if pixels.dtype.kind == "f":
        whole = np.rint(pixels)
        if not np.array_equal(whole, pixels) or np.abs(whole).max(initial=0) > _LARGEST:
            raise DataError(f"{file} has labels that are no whole numbers; save them as integers")
        pixels = whole.astype(np.int64)
    if pixels.dtype.kind not in "bui":
        raise DataError(f"{file} has labels of type {pixels.dtype}; save them as integers")
    return pixels


def read_stack(path: Path, *, is_label: bool) -> np.ndarray | None:
    """The planes of a TIFF; None of a file that holds one picture.

    Args:
        path: the file, of any kind.
        is_label: a palette is no matter: its numbers are what is wanted.

    Returns:
        (planes, height, width) or (planes, height, width, channels), of the type that it has.

    Raises:
        DataError: it cannot be read, is cut short, or has more axes.
    """
    try:
        if not is_tiff_file(path):
            return None
        with tifffile.TiffFile(path) as file:
            # pages make one series, or, where they were added one by one, a series each; the
            # largest: beside a picture its file may hold a small version of it
            series = max(file.series, key=lambda one: one.keyframe.size)
            alike = [one for one in file.series if (one.axes, one.shape) == _layout(series)]
            # axes of one entry say nothing; a name may stand twice
            sizes = [(a, n) for a, n in zip(*_layout(series)) if n > 1 or a in "YX"]
            axes = "".join(axis for axis, _ in sizes)
            deep = [axis for axis in axes if axis not in _NOT_PLANE]
            if not deep and len(alike) == 1:
                return None
            if axes.removeprefix("".join(deep[:1])) not in ("YX", "YXS"):
                shown = ", ".join(f"{axis} {size}" for axis, size in sizes)
                raise DataError(f"{path} has the axes {shown}; a stack has planes, Y and X")
            kind = series.keyframe.photometric
            if kind == tifffile.PHOTOMETRIC.PALETTE and not is_label:
                raise DataError(f"{path} is a stack with a palette; save it as grey or RGB")
            planes = np.concatenate([_planes(path, file, one) for one in alike])
            return planes.reshape(-1, *[n for a, n in sizes if a in _NOT_PLANE])
    except DataError:
        raise
    except Exception as error:  # of decoders, which raise what they like
        raise DataError(f"{path} cannot be read as a TIFF: {first_line(error)}") from error


def _layout(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    return series.axes, series.shape


def _planes(path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> np.ndarray:
    check_pixels_are_there(path, file, series)
    check_upright(path, series.keyframe)
    values = series.asarray()
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255  # as of pictures
    if is_white_zero(series.keyframe) and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    return values
