"""Files, folders and patterns of images, and the reader of each."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maskrcnnpp.errors import DataError, first_line
from maskrcnnpp.images.companions import find_companions
from maskrcnnpp.images.microscope import MICROSCOPE_SUFFIXES, MicroscopeRaster
from maskrcnnpp.images.ome_zarr import ZARR_SUFFIX, ZarrRaster, is_zarr
from maskrcnnpp.images.plain import PLAIN_SUFFIXES, open_plain, plain_kind, plain_size
from maskrcnnpp.images.raster import Kind, Raster
from maskrcnnpp.images.slide import SLIDE_SUFFIXES, SlideRaster, is_slide
from maskrcnnpp.images.tiff import TIFF_SUFFIXES, is_tiff, open_tiff, tiff_kind, tiff_size

#: Endings of files of images.
SUFFIXES = (*PLAIN_SUFFIXES, *TIFF_SUFFIXES, *SLIDE_SUFFIXES, *MICROSCOPE_SUFFIXES)
_TAKEN = (*SUFFIXES, ZARR_SUFFIX)  # from a folder
# pictures that are read where they are named, and are seldom data
_PICTURES = (".gif", ".webp", ".jp2", ".pgm", ".ppm", ".pnm")

_LONGEST_NAME = 255


def _nobody(text: str) -> None:
    pass


def find_images(inputs: Sequence[str], tell: Callable[[str], None] = _nobody) -> list[Path]:
    """Image files of files, folders and patterns such as ``"slides/*.tif"``, sorted, each once.

    A folder stands for the images that lie in it, by their endings (:data:`SUFFIXES`
    and .zarr), not for those in folders below. A folder of OME-Zarr is an image. Of a folder or
    pattern, files that show another one again are not taken
    (:func:`maskrcnnpp.images.companions.find_companions`).

    Args:
        tell: gets a sentence about files that are not taken.

    Raises:
        DataError: an input is not there, or has no image.
    """
    found: dict[Path, Path] = {}
    for word in inputs:
        if len(Path(word).name) > _LONGEST_NAME:
            raise DataError(f"{word}: is longer than the name of a file can be")
        try:
            for file in sorted(_images_of(word, tell)):
                found.setdefault(file.resolve(), file)
        except OSError as error:
            raise DataError(f"{word} cannot be read: {error.strerror or error}") from error
    return list(found.values())


def _images_of(word: str, tell: Callable[[str], None]) -> list[Path]:
    path = Path(word)
    if path.is_dir() and not is_zarr(path):
        there = [p for p in path.iterdir() if not p.name.startswith("._")]  # of macOS: no images
        if others := [p for p in there if p.suffix.lower() in _PICTURES]:
            tell(_not_taken(others, f"end in none of {' '.join(_TAKEN)}"))
        if files := [p for p in there if _is_image(p) and p.suffix.lower() in _TAKEN]:
            return _without_companions(files, tell)
        below = f"; folders below are not searched: give a pattern, such as '{word}/*/*.tif'"
        raise DataError(
            f"the folder {word} has no image: none of its files ends in {list(_TAKEN)}"
            f"{below if any(p.is_dir() for p in there) else ''}"
        )
    if _is_image(path):
        return [path]
    if files := [p for p in map(Path, glob.glob(word)) if _is_image(p)]:
        return _without_companions(files, tell)
    raise DataError(f"{word}: there is no such file or folder, nor does the pattern fit any")


def _without_companions(files: list[Path], tell: Callable[[str], None]) -> list[Path]:
    companions = find_companions(files)
    if companions:
        file, image = next(iter(companions.items()))
        tell(_not_taken(list(companions), f"belong to images beside them, as to {image.name}"))
    return [file for file in files if file not in companions]


def _not_taken(files: list[Path], reason: str) -> str:
    files = sorted(files)
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"not taken: {files[0]}{more}, which {reason}; name a file to have it taken"


def open_image(
    path: str | os.PathLike,
    channels: Sequence[int] | None = None,
    *,
    level: int = 0,
    scene: str | None = None,
    stacks: bool = False,
) -> Raster:
    """Open PNG, JPEG, BMP, TIFF, OME-Zarr, a slide, CZI, LIF or ND2, with the bits that it has.

    Large TIFFs and slides are read where and when they are looked at, others at once. What EXIF
    says about how to turn an image is done, as Detectron2 does it.

    Args:
        path: the file. Its content tells what it is, not its ending; but slides, CZI, LIF and ND2
            have theirs.
        channels: see :meth:`Raster.choose`.
        level: of the pyramid of an OME-Zarr, 0 is the largest; others have no more than that.
        scene: of CZI, LIF and ND2 that hold several images: the name of one, or its number from 0.
        stacks: take z-stacks and time series, too: :attr:`Raster.plane` chooses what is read.

    Raises:
        DataError: it cannot be read without loss, is cut short, is a stack and should not be, has
            not these channels or this scene, unpacks to more than a memory holds, or needs a
            package that is not installed. The message names the file.
    """
    raster = open_all_channels(path, level=level, scene=scene, stacks=stacks)
    try:
        raster.choose(channels)
    except DataError:
        raster.close()
        raise
    return raster


def open_all_channels(
    path: str | os.PathLike,
    content: bytes | None = None,
    *,
    level: int = 0,
    scene: str | None = None,
    stacks: bool = False,
) -> Raster:
    """:func:`open_image` with whatever channels there are.

    Args:
        path: the file, or only its name.
        content: of the file, where it lies in an archive. For plain images and TIFF alone.
        level, scene, stacks: see :func:`open_image`.

    Raises:
        DataError: see :func:`open_image`.
    """
    path = Path(path)
    with _named(path):
        is_of_microscope = path.suffix.lower() in MICROSCOPE_SUFFIXES
        if scene is not None and not is_of_microscope:
            raise DataError(f"{path} has one image: --scene is for CZI, LIF and ND2")
        if content is None and is_zarr(path):
            raster: Raster = ZarrRaster(path, level, stacks=stacks)
        elif level:
            raise DataError(f"{path} is read at its full size: --level is for OME-Zarr")
        elif is_of_microscope:
            raster = MicroscopeRaster(path, content, scene=scene, stacks=stacks)
        elif _is_slide(path, content):
            raster = SlideRaster(path, content)
        elif is_tiff_file(path, content):
            raster = open_tiff(path, content, stacks=stacks)
        else:
            raster = open_plain(path, content)
    if 0 in raster.shape:
        raster.close()
        raise DataError(f"{path} is empty: {'x'.join(map(str, raster.shape))} pixels")
    return raster


def image_kind(path: str | os.PathLike) -> Kind:
    """Numbers and channels of an image file, of which as a rule the header is read alone.

    Raises:
        DataError: it cannot be read. The message names it.
    """
    path = Path(path)
    with _named(path):
        if is_zarr(path):
            raster: Raster = ZarrRaster(path)
            return Kind(str(raster.dtype), raster.shape[2], raster.is_colour)
        if path.suffix.lower() in MICROSCOPE_SUFFIXES:
            with MicroscopeRaster(path) as raster:
                return Kind(str(raster.dtype), raster.shape[2], raster.is_colour)
        if _is_slide(path):
            return Kind("uint8", 3)
        return (tiff_kind if is_tiff_file(path) else plain_kind)(path)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of an image file as it is seen, of which the header is read alone.

    Raises:
        DataError: it cannot be read. The message names it.
    """
    path = Path(path)
    with _named(path):
        if is_zarr(path):
            return ZarrRaster(path).level_sizes[0]
        if path.suffix.lower() in MICROSCOPE_SUFFIXES:
            with MicroscopeRaster(path) as raster:
                return raster.height, raster.width
        if _is_slide(path):
            with SlideRaster(path) as raster:
                return raster.height, raster.width
        return (tiff_size if is_tiff_file(path) else plain_size)(path)


def _is_image(path: Path) -> bool:
    return path.is_file() or is_zarr(path)


def _is_slide(path: Path, content: bytes | None = None) -> bool:
    """Whether OpenSlide is to read it; of a TIFF it does not know it would keep 8 bits only."""
    if path.suffix.lower() not in SLIDE_SUFFIXES:
        return False
    may_be_plain = content is None and path.is_file() and is_tiff_file(path)
    return not may_be_plain or is_slide(path)


def is_tiff_file(path: Path, content: bytes | None = None) -> bool:
    """Whether a file, of which the content may be known, begins as a TIFF does."""
    if content is not None:
        return is_tiff(content)
    with open(path, "rb") as file:
        return is_tiff(file.read(4))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of decoders, which raise what they like, as one that names the file."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read as an image: {first_line(error)}") from error
