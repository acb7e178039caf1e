"""Images that microscopists have, read as arrays of height x width x channels."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageOps

from maskrcnnpp.errors import DataError

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF_SUFFIXES)

_LARGEST = 2**32  # pixels of a PNG, JPEG or BMP
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
    found: dict[Path, Path] = {}
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
        for file in sorted(files):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_image(path: str | os.PathLike, channels: Sequence[int] | None = None) -> Picture:
    """Read PNG, JPEG, BMP or TIFF, with the bits that it has.

    Args:
        path: the file.
        channels: which to take, from 0; one is grey, three are red, green and blue. None takes a
            grey image, or one whose channels are colours, as it is.

    Raises:
        DataError: it cannot be read, is cut short, has more than two dimensions beside its
            channels, or has not these channels. The message names the file.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            picture, is_colour = _read_tiff(path)
        else:
            picture, is_colour = Picture(_read_plain(path)), True
    except (DataError, MemoryError):
        raise
    except Exception as error:  # of decoders, which raise what they like
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} cannot be read as an image: {reason}") from error
    if 0 in picture.pixels.shape:
        raise DataError(f"{path} is empty: {_shape(picture.pixels)} pixels")
    return Picture(_select(path, picture.pixels, channels, is_colour), picture.micrometres)


def _read_plain(path: Path) -> np.ndarray:
    with _any_size(), Image.open(path) as image:
        image.load()  # raises where OpenCV would fill up a file that is cut short
        if path.suffix.lower() != ".png":
            image = ImageOps.exif_transpose(image)  # as Detectron2 does for training
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
            return pixels.reshape(*pixels.shape[:2], -1)
    # not through Pillow: it has no 16-bit colour
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DataError(f"{path} cannot be read as an image")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 2 else pixels


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow open what is larger than photographs are."""
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = _LARGEST // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def _read_tiff(path: Path) -> tuple[Picture, bool]:
    """The picture, and whether its channels are colours."""
    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages[0]
        axes, pixels = series.axes, series.asarray()
        micrometres = _pixel_size(file)
        photometric = getattr(page, "photometric", None)
        palette = getattr(page, "colormap", None)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    if photometric == tifffile.PHOTOMETRIC.PALETTE and palette is not None:
        # entries have 16 bits
        pixels, axes = (np.moveaxis(palette[:, pixels], 0, -1) >> 8).astype(np.uint8), axes + "S"
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
    pixels = pixels.transpose(axes.index("Y"), axes.index("X"), *(axes.index(a) for a in others))
    picture = Picture(pixels if others else pixels[..., None], micrometres)
    return picture, others != ["C"]


def _pixel_size(file: tifffile.TiffFile) -> float | None:
    """Micrometres a pixel, of OME or ImageJ metadata; None also where these are odd."""
    try:
        return _ome_pixel_size(file) if file.is_ome else _imagej_pixel_size(file)
    except (AttributeError, KeyError, LookupError, TypeError, ValueError):
        return None


def _ome_pixel_size(file: tifffile.TiffFile) -> float | None:
    pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
    factor = _MICROMETRES.get(pixels.get("PhysicalSizeXUnit", "µm"))
    size = pixels.get("PhysicalSizeX")
    return float(size) * factor if size and factor else None


def _imagej_pixel_size(file: tifffile.TiffFile) -> float | None:
    if not file.is_imagej:
        return None
    factor = _MICROMETRES.get(file.imagej_metadata.get("unit", ""))
    pixels, units = file.pages[0].tags["XResolution"].value
    return factor * units / pixels if factor and pixels else None


def _select(
    path: Path, pixels: np.ndarray, channels: Sequence[int] | None, is_colour: bool
) -> np.ndarray:
    there = pixels.shape[2]
    if channels is None:
        if there == 1 or (is_colour and there in (3, 4)):
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
