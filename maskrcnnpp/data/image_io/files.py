"""Files, folders and patterns of images, and the reader of each."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from maskrcnnpp.data.image_io.plain import PLAIN_SUFFIXES, open_plain
from maskrcnnpp.data.image_io.raster import Raster, reason
from maskrcnnpp.data.image_io.slide import SLIDE_SUFFIXES, SlideRaster
from maskrcnnpp.data.image_io.tiff import TIFF_SUFFIXES, open_tiff
from maskrcnnpp.errors import DataError

#: Endings of files that are taken from a folder.
SUFFIXES = (*PLAIN_SUFFIXES, *TIFF_SUFFIXES, *SLIDE_SUFFIXES)

_LONGEST_NAME = 255


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
        if len(path.name) > _LONGEST_NAME:
            raise DataError(f"{word}: is longer than the name of a file can be")
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


def open_image(path: str | os.PathLike, channels: Sequence[int] | None = None) -> Raster:
    """Open PNG, JPEG, BMP, TIFF or a slide, with the bits that it has.

    Large TIFFs and slides are read where and when they are looked at, others at once.

    Args:
        path: the file. Its ending tells what it is.
        channels: see :meth:`Raster.choose`.

    Raises:
        DataError: it cannot be read, is cut short, has more than two dimensions beside its
            channels, has not these channels, or needs a package that is not installed. The message
            names the file.
    """
    raster = open_all_channels(path)
    try:
        raster.choose(channels)
    except DataError:
        raster.close()
        raise
    return raster


def open_all_channels(path: str | os.PathLike, content: bytes | None = None) -> Raster:
    """:func:`open_image` with whatever channels there are.

    Args:
        path: the file, or only its name.
        content: of the file, where it lies in an archive. Not for slides.

    Raises:
        DataError: see :func:`open_image`.
    """
    path = Path(path)
    try:
        raster = _opener(path)(path, content)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # of decoders, which raise what they like
        raise DataError(f"{path} cannot be read as an image: {reason(error)}") from error
    if 0 in raster.shape:
        raster.close()
        raise DataError(f"{path} is empty: {'x'.join(map(str, raster.shape))} pixels")
    return raster


def _opener(path: Path) -> Callable[[Path, bytes | None], Raster]:
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return open_tiff
    return SlideRaster if suffix in SLIDE_SUFFIXES else open_plain
