"""TIFF of all kinds, also larger than memory."""

from __future__ import annotations

import copy
import io
import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile

from maskrcnnpp.errors import DataError
from maskrcnnpp.images.pixel_size import pixel_size, plane_distance
from maskrcnnpp.images.raster import ArrayRaster, Kind, Raster
from maskrcnnpp.images.tiff_checks import (
    AT_ONCE,
    check_codecs,
    check_pixels_are_there,
    check_upright,
)
from maskrcnnpp.images.tiff_series import as_stack, axes_of, images_of, largest_of, size_of

logger = logging.getLogger(__name__)

#: Endings that tell a TIFF in a folder: also of Zeiss, MetaMorph, PerkinElmer, and of large ones.
TIFF_SUFFIXES = (".tif", ".tiff", ".lsm", ".stk", ".flex", ".btf", ".tf2", ".tf8")

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, of either byte order
_PHOTOMETRIC = 262  # number of a tag


def open_tiff(path: Path, content: bytes | None = None, *, stacks: bool = False) -> Raster:
    """The largest image of a TIFF, of a pyramid its largest level: bits, integers or floats.

    Args:
        stacks: whether it may have several planes.

    Raises:
        DataError: it is a stack and should not be, is cut short, or needs a package that is not
            installed. tifffile raises other errors too.
    """
    raster = TiffRaster(path, content, stacks=stacks)
    if raster.stack or raster.bytes > AT_ONCE:
        try:
            raster.begin()
        except BaseException:
            raster.close()
            raise
        return raster
    with raster:
        return ArrayRaster(
            raster.region(0, 0, raster.height, raster.width),
            name=raster.name,
            is_colour=raster.is_colour,
            micrometres=raster.micrometres,
        )


def is_tiff(content: bytes) -> bool:
    """Whether a file begins as a TIFF does."""
    return content.startswith(_STARTS)


def tiff_kind(path: Path) -> Kind:
    """Kind of a TIFF image, by its header."""
    with TiffRaster(path) as raster:
        return Kind(str(raster.dtype), raster.shape[2], raster.is_colour, raster.is_first)


def tiff_size(path: Path) -> tuple[int, int]:
    """Height and width, by the header."""
    with tifffile.TiffFile(path) as file:
        return size_of(largest_of(path, images_of(path, file)))


class TiffRaster(Raster):
    """A TIFF, of which only what is asked for is read and decoded."""

    _if_channels = (
        ", or, if these are channels, save it with tifffile.imwrite(..., metadata={'axes': 'CYX'}, "
        "ome=True)"
    )

    def __init__(self, path: Path, content: bytes | None = None, *, stacks: bool = False) -> None:
        """
        Args:
            path, content, stacks: see :func:`open_tiff`.

        Raises:
            DataError: see :func:`open_tiff`.
        """
        self._file = tifffile.TiffFile(path if content is None else io.BytesIO(content))
        self._is_file = content is None
        try:
            self._open(path, stacks)
        except BaseException:
            self._file.close()
            raise

    def _open(self, path: Path, stacks: bool) -> None:
        images = images_of(path, self._file)
        series = as_stack(path, self._file, images) if stacks else None
        self._levels = (series or largest_of(path, images)).levels
        series, page = self._levels[0], self._levels[0].keyframe
        for level in self._levels:
            check_pixels_are_there(path, self._file, level)
        check_codecs(path, page)
        check_upright(path, page)
        if 1 < page.bitspersample < 8 and page.photometric != tifffile.PHOTOMETRIC.PALETTE:
            raise DataError(
                f"{path} has {page.bitspersample} bits a pixel, which is read as bright by some "
                "and as dark by others: save it with 8 bits"
            )
        #: Whether Detectron2, which reads the first page, would take this image.
        self.is_first = page.index == 0
        self._channel_axis, self._stack_axes = axes_of(path, series)
        self._is_white_zero = is_white_zero(page)
        self._is_premultiplied = (
            page.photometric == tifffile.PHOTOMETRIC.RGB
            and page.extrasamples == (tifffile.EXTRASAMPLE.ASSOCALPHA,)
            and page.dtype.kind == "u"
        )
        has_palette = (
            page.photometric == tifffile.PHOTOMETRIC.PALETTE and self._channel_axis is None
        )
        self._palette = page.colormap if has_palette else None
        sizes = dict(zip(series.axes, series.shape))
        super().__init__(
            str(path),
            (sizes["Y"], sizes["X"], 3 if has_palette else sizes.get(self._channel_axis, 1)),
            np.uint8 if series.dtype == bool or has_palette else series.dtype,
            is_colour=self._channel_axis is None
            or (self._channel_axis == "S" and _is_colour(page)),
            micrometres=pixel_size(self._file, series),
        )
        self.bytes = series.size * series.dtype.itemsize
        self._path = path
        self.stack = {name: sizes[axis] for name, axis in self._stack_axes.items()}
        if "z" in self.stack and (distance := plane_distance(self._file)):
            self.steps = {"z": (distance, "micrometer")}
        if not stacks:
            self.check_is_no_stack()
        self._use(0)

    def _use(self, level: int) -> None:
        """Read this level from now on."""
        self._series = self._levels[level]
        sizes = dict(zip(self._series.axes, self._series.shape))
        self.height, self.width = sizes["Y"], sizes["X"]
        self._pixels: _Pixels | None = None
        self._band: tuple[tuple, np.ndarray] | None = None

    def begin(self) -> None:
        """Get ready to read pixels. Until then only the header is looked at."""
        if self._pixels is None:
            self._pixels = _pixels(self._path, self._series, can_be_mapped=self._is_file)

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        self.begin()
        rows = getattr(self._pixels, "rows_at_once", 0)
        if not rows:
            return self._seen((top, bottom), (left, right))
        # a strip is decoded as a whole: once for all tiles of a row or, of one strip, for all
        first, last = (top, bottom) if rows < self.height else (0, self.height)
        key = first, last, self.plane, tuple(self.channels)
        if self._band is None or self._band[0] != key:
            self._band = None  # not two at a time
            self._band = key, self._seen((first, last), (0, self.width))
        return self._band[1][top - first : bottom - first, left:right]

    def _shrunk(self, largest: int) -> np.ndarray:
        """See :meth:`Raster.thumbnail`; of a smaller level where the file has one."""
        sides = [max(size_of(level)) for level in self._levels]
        level = max((k for k, side in enumerate(sides) if side >= largest), default=0)
        if level == 0:
            return super()._shrunk(largest)
        smaller = copy.copy(self)
        smaller._use(level)
        return Raster._shrunk(smaller, largest)

    def _seen(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """A region as people see it, (height, width, channels)."""
        axes = self._series.axes
        index: dict[str, Any] = {"Y": slice(*rows), "X": slice(*columns)}
        index |= {self._stack_axes[name]: number for name, number in self.place.items()}
        if self._channel_axis == "S":
            index["S"] = slice(None)

        def take(**more: int) -> np.ndarray:
            return self._pixels[tuple({**index, **more}.get(axis, 0) for axis in axes)]

        if self._channel_axis == "C":  # which may be many, in planes of their own
            seen = np.stack([take(C=channel) for channel in self.channels], axis=-1)
        else:
            seen = take()
            if self._palette is not None:
                # entries have 16 bits
                seen = np.moveaxis(self._palette[:, seen] >> 8, 0, -1).astype(np.uint8)
            elif self._channel_axis == "S":
                seen = np.moveaxis(seen, 0, -1) if axes.index("S") < 2 else seen
                seen = _divided_by_alpha(seen) if self._is_premultiplied else seen
            else:
                seen = seen[..., None]
            seen = seen[..., list(self.channels)]
        if seen.dtype == bool:
            seen = seen.astype(np.uint8) * 255
        if self._is_white_zero and seen.dtype.kind == "u":
            seen = np.iinfo(seen.dtype).max - seen
        return seen

    def close(self) -> None:
        self._file.close()


class _Pixels(Protocol):
    """Pixels of a whole series, indexed like an array."""

    def __getitem__(self, index: tuple) -> np.ndarray: ...


class _Mapped:
    """Pixels of an uncompressed file. They use memory only while they are read."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries) -> None:
        self._path = path
        self._about = {"offset": series.dataoffset, "shape": series.shape}
        self._dtype = series.dtype.newbyteorder(series.parent.byteorder)

    def __getitem__(self, index: tuple) -> np.ndarray:
        mapped = np.memmap(self._path, self._dtype, "r", **self._about)
        return np.array(mapped[index]).astype(self._dtype.newbyteorder("="), copy=False)


class _Decoded:
    """Pixels of a compressed file, decoded a strip or tile at a time."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries) -> None:
        try:
            import zarr
        except ImportError as error:
            raise DataError(
                f"{path} is too large to be read at once, which needs zarr: pip install "
                "'maskrcnnpp[slides]'"
            ) from error
        self._array = zarr.open(series.aszarr(level=0), mode="r")
        sizes = dict(zip(series.axes, self._array.chunks))
        width = series.shape[series.axes.index("X")]
        #: Height of a strip; 0 for tiles.
        self.rows_at_once = sizes["Y"] if sizes["X"] >= width else 0

    def __getitem__(self, index: tuple) -> np.ndarray:
        return np.asarray(self._array[index])


def _pixels(path: Path, series: tifffile.TiffPageSeries, *, can_be_mapped: bool) -> _Pixels:
    if series.size * series.dtype.itemsize <= AT_ONCE:
        return series.asarray()
    is_mapped = can_be_mapped and series.dataoffset is not None
    return _Mapped(path, series) if is_mapped else _Decoded(path, series)


def _is_colour(page: tifffile.TiffPage) -> bool:
    """Whether samples are red, green, blue, or grey, and perhaps alpha, which has to say so."""
    kind = tifffile.PHOTOMETRIC
    if page.photometric == kind.YCBCR:  # which decoders of JPEG turn into RGB
        return page.compression in (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
    is_grey = page.photometric in (kind.MINISBLACK, kind.MINISWHITE)
    if not is_grey and page.photometric != kind.RGB:
        return False
    others = page.samplesperpixel - (1 if is_grey else 3)
    alpha = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
    return others == 0 or (others == 1 and set(page.extrasamples) <= set(alpha) != set())


def _divided_by_alpha(pixels: np.ndarray) -> np.ndarray:
    """Colours that were multiplied by alpha, which comes last, as they were, to the integer below.

    Pillow does the same, and so Detectron2.
    """
    colours, alpha = pixels[..., :-1].astype(np.uint64), pixels[..., -1:]
    largest = np.iinfo(pixels.dtype).max
    divided = np.minimum(largest * colours // np.maximum(alpha, 1), largest)
    return np.concatenate([np.where(alpha > 0, divided, 0).astype(alpha.dtype), alpha], -1)


def is_white_zero(page: tifffile.TiffPage) -> bool:
    """Whether 0 is white. A page that does not say it has 0 for black, to all readers."""
    is_said = _PHOTOMETRIC in page.tags
    return is_said and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
