"""Images that microscopists have, read as arrays of height x width x channels."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from maskrcnnpp.errors import DataError

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF_SUFFIXES)

_PLANE_AXES = "YX"
_CHANNEL_AXES = "CS"
# of what ImageJ and OME write as a unit
_MICROMETRES = {"micron": 1.0, "um": 1.0, "µm": 1.0, "\\u00B5m": 1.0, "nm": 1e-3, "mm": 1e3}


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and what its file says about it."""

    pixels: np.ndarray  #: (height, width, channels), any number type; colour is RGB(A)
    micrometres: float | None = None  #: side of a pixel, where the file knows it


def find_images(inputs: Sequence[str]) -> list[Path]:
    """Image files of files, folders and patterns such as ``"slides/*.tif"``, sorted, each once.

    A folder stands for the images that lie in it, by their endings (:data:`SUFFIXES`), not for
    those in folders below.

    Raises:
        DataError: an input is not there, or has no image.
    """
    found: dict[Path, None] = {}
    for word in inputs:
        path = Path(word)
        if path.is_dir():
            files = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
            what = f"the folder {word} has no image: none of its files ends in {list(SUFFIXES)}"
        elif path.is_file():
            files, what = [path], ""
        else:
            files = [p for p in map(Path, glob.glob(word)) if p.is_file()]
            what = f"{word}: there is no such file or folder, nor does the pattern fit any"
        if not files:
            raise DataError(what)
        found.update(dict.fromkeys(sorted(files)))
    return list(found)


def read_image(path: str | os.PathLike, channels: Sequence[int] | None = None) -> Picture:
    """Read PNG, JPEG, BMP or TIFF, with the bits that it has.

    Args:
        path: the file.
        channels: which to take, from 0; one is grey, three are red, green and blue. None takes an
            image of 1, 3 or 4 channels as it is.

    Raises:
        DataError: it cannot be read, is cut short, has more than two dimensions beside its
            channels, or has not these channels. The message names the file.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            picture = _read_tiff(path)
        else:
            picture = Picture(_read_plain(path))
    except DataError:
        raise
    except Exception as error:  # of decoders, which raise what they like
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} cannot be read as an image: {reason}") from error
    if 0 in picture.pixels.shape:
        raise DataError(f"{path} is empty: {_shape(picture.pixels)} pixels")
    return Picture(_select(path, picture.pixels, channels), picture.micrometres)


def _read_plain(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.load()  # raises where OpenCV would fill up a file that is cut short
    # not through Pillow: it has no 16-bit colour
    data = np.fromfile(path, dtype=np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DataError(f"{path} cannot be read as an image")
    if pixels.ndim == 2:
        return pixels[..., None]
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] >= 3 else slice(None)
    return pixels[..., order]


def _read_tiff(path: Path) -> Picture:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes, pixels = series.axes, series.asarray()
        micrometres = _pixel_size(file)
    # axes of one entry say nothing
    kept = [k for k, size in enumerate(pixels.shape) if size > 1 or axes[k] in _PLANE_AXES]
    axes, pixels = "".join(axes[k] for k in kept), pixels.reshape([pixels.shape[k] for k in kept])
    others = [axis for axis in axes if axis not in _PLANE_AXES]
    if any(axis not in _CHANNEL_AXES for axis in others) or len(others) > 1:
        sizes = ", ".join(f"{axis} {size}" for axis, size in zip(axes, pixels.shape))
        raise DataError(
            f"{path} is a stack with the axes {sizes}; an image has Y, X and channels (C or S): "
            "save its planes one by one"
        )
    order = [axes.index("Y"), axes.index("X"), *(axes.index(axis) for axis in others)]
    pixels = pixels.transpose(order)
    return Picture(pixels if others else pixels[..., None], micrometres)


def _pixel_size(file: tifffile.TiffFile) -> float | None:
    """Micrometres a pixel, of OME or ImageJ metadata."""
    if file.is_ome and file.ome_metadata:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
        factor = _MICROMETRES.get(pixels.get("PhysicalSizeXUnit", "µm"))
        size = pixels.get("PhysicalSizeX")
        return float(size) * factor if size and factor else None
    if file.is_imagej and file.imagej_metadata:
        factor = _MICROMETRES.get(file.imagej_metadata.get("unit", ""))
        tag = file.pages[0].tags.get("XResolution")
        if factor and tag and tag.value[0]:
            return factor * tag.value[1] / tag.value[0]
    return None


def _select(path: Path, pixels: np.ndarray, channels: Sequence[int] | None) -> np.ndarray:
    there = pixels.shape[2]
    if channels is None:
        if there in (1, 3, 4):
            return pixels
        raise DataError(
            f"{path} has {there} channels; choose one or three of 0..{there - 1} with --channels"
        )
    if len(channels) not in (1, 3):
        raise DataError(f"--channels {list(channels)}: one is grey, three are red, green, blue")
    if not all(0 <= channel < there for channel in channels):
        raise DataError(f"{path} has channels 0..{there - 1}, not all of {list(channels)}")
    return pixels[..., list(channels)]


def _shape(pixels: np.ndarray) -> str:
    return "x".join(map(str, pixels.shape))
