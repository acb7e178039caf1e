"""TIFF of all kinds, also larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile

from maskrcnnpp.data.image_io.raster import ArrayRaster, Raster, shrunk
from maskrcnnpp.errors import DataError

TIFF_SUFFIXES = (".tif", ".tiff")

_AT_ONCE = 2**26  # bytes of an image that is read at once
_CHANNEL_AXES = "CS"
# of what ImageJ and OME write as a unit
_MICROMETRES = {"micron": 1.0, "um": 1.0, "µm": 1.0, "\\u00B5m": 1.0, "nm": 1e-3, "mm": 1e3}
_SQUARE = 0.01  # by which the sides of a pixel may differ, as a fraction


def open_tiff(path: Path) -> Raster:
    """The first image of a TIFF, of a pyramid its largest level: bits, integers or floats.

    Raises:
        DataError: it is a stack, is cut short, or needs a package that is not installed. tifffile
            raises other errors too.
    """
    raster = TiffRaster(path)
    if raster.bytes > _AT_ONCE:
        return raster
    with raster:
        return ArrayRaster(
            raster.region(0, 0, raster.height, raster.width),
            name=raster.name,
            is_colour=raster.is_colour,
            micrometres=raster.micrometres,
        )


class TiffRaster(Raster):
    """A TIFF, of which only what is asked for is read and decoded."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DataError: see :func:`open_tiff`.
        """
        self._file = tifffile.TiffFile(path)
        try:
            self._open(path)
        except BaseException:
            self._file.close()
            raise

    def _open(self, path: Path) -> None:
        page, self._levels = self._file.pages[0], self._file.series[0].levels
        series = self._levels[0]
        _check_length(path, self._file)
        _check_codecs(path, page)
        self._channel_axis = _channel_axis(path, series)
        self._is_white_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        has_palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        self._palette = page.colormap if has_palette else None
        sizes = dict(zip(series.axes, series.shape))
        channels = 3 if self._palette is not None else sizes.get(self._channel_axis, 1)
        super().__init__(
            str(path),
            (sizes["Y"], sizes["X"], channels),
            np.uint8 if series.dtype == bool or has_palette else series.dtype,
            is_colour=self._channel_axis != "C",
            micrometres=_pixel_size(self._file),
        )
        self.bytes = series.size * series.dtype.itemsize
        self._pixels = _pixels(path, page, series)
        self._band: tuple[tuple, np.ndarray] | None = None

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        series = self._levels[0]
        if not isinstance(self._pixels, _Decoded) or not self._pixels.has_strips:
            return self._seen(series, self._pixels, (top, bottom), (left, right))
        # a strip is decoded as a whole: once for all tiles of a row
        key = top, bottom, tuple(self.channels)
        if self._band is None or self._band[0] != key:
            self._band = None  # not two at a time
            rows = self._seen(series, self._pixels, (top, bottom), (0, self.width))
            self._band = key, rows
        return self._band[1][:, left:right]

    def _shrunk(self, largest: int) -> np.ndarray:
        """See :meth:`Raster.thumbnail`; of a smaller level where the file has one."""
        fitting = [level for level in self._levels[1:] if max(_plane(level)) >= largest]
        if not fitting:
            return super()._shrunk(largest)
        height, width = _plane(fitting[-1])
        small = self._seen(fitting[-1], fitting[-1].asarray(), (0, height), (0, width))
        scale = largest / max(height, width)
        return shrunk(small, max(1, round(height * scale)), max(1, round(width * scale)))

    def _seen(
        self,
        series: tifffile.TiffPageSeries,
        pixels: _Pixels,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> np.ndarray:
        """A region as people see it, (height, width, channels)."""
        index: dict[str, Any] = {"Y": slice(*rows), "X": slice(*columns), "S": slice(None)}

        def take(**more: int) -> np.ndarray:
            return pixels[tuple({**index, **more}.get(axis, 0) for axis in series.axes)]

        if self._channel_axis == "C":  # which may be many, in planes of their own
            seen = np.stack([take(C=channel) for channel in self.channels], axis=-1)
        else:
            seen = take()
            if self._palette is not None:
                # entries have 16 bits
                seen = np.moveaxis(self._palette[:, seen] >> 8, 0, -1).astype(np.uint8)
            elif self._channel_axis == "S":
                seen = np.moveaxis(seen, 0, -1) if series.axes.index("S") < 2 else seen
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
    """Of a whole series, taken from as from an array."""

    def __getitem__(self, index: tuple) -> np.ndarray: ...


class _Mapped:
    """Of a file without compression. Pages that were read count as memory only while they are."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries) -> None:
        self._path = path
        self._about = {"offset": series.dataoffset, "shape": series.shape}
        self._dtype = series.dtype.newbyteorder(series.parent.byteorder)

    def __getitem__(self, index: tuple) -> np.ndarray:
        mapped = np.memmap(self._path, self._dtype, "r", **self._about)
        return np.array(mapped[index]).astype(self._dtype.newbyteorder("="), copy=False)


class _Decoded:
    """Of a compressed file, a strip or tile at a time."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries) -> None:
        try:
            import zarr
        except ImportError as error:
            raise DataError(
                f"{path} is too large to be read at once, which needs zarr: pip install "
                "'maskrcnnpp[slides]'"
            ) from error
        self._array = zarr.open(series.aszarr(level=0), mode="r")
        across = self._array.chunks[series.axes.index("X")]
        self.has_strips = across >= series.shape[series.axes.index("X")]

    def __getitem__(self, index: tuple) -> np.ndarray:
        return np.asarray(self._array[index])


def _pixels(path: Path, page: tifffile.TiffPage, series: tifffile.TiffPageSeries) -> _Pixels:
    if series.size * series.dtype.itemsize <= _AT_ONCE:
        return series.asarray()
    if series.dataoffset is not None:
        return _Mapped(path, series)
    strip_or_tile = int(np.prod(page.chunks)) * series.dtype.itemsize
    # of one strip that is large there is no part to decode
    return _Decoded(path, series) if strip_or_tile <= _AT_ONCE else series.asarray()


def _channel_axis(path: Path, series: tifffile.TiffPageSeries) -> str | None:
    # axes of one entry say nothing
    others = [
        axis for axis, size in zip(series.axes, series.shape) if axis not in "YX" and size > 1
    ]
    if len(others) > 1 or not set(others) <= set(_CHANNEL_AXES) or "Y" not in series.axes:
        sizes = ", ".join(f"{axis} {size}" for axis, size in zip(series.axes, series.shape))
        raise DataError(
            f"{path} is a stack with the axes {sizes}; an image has Y, X and channels (C or S): "
            "save its planes one by one"
        )
    return others[0] if others else None


def _check_length(path: Path, file: tifffile.TiffFile) -> None:
    """Of what is cut short a decoder may make black pixels."""
    there = file.filehandle.size
    for page in file.series[0].pages:
        if page is None:
            continue
        for start, count in zip(page.dataoffsets, page.databytecounts):
            if start + count > there:
                raise DataError(f"{path} is cut short: it ends before its pixels do")


def _check_codecs(path: Path, page: tifffile.TiffPage) -> None:
    tables = tifffile.TIFF.DECOMPRESSORS, tifffile.TIFF.UNPREDICTORS
    for kind, table in zip((page.compression, page.predictor), tables):
        if kind not in table:
            raise DataError(
                f"{path} is compressed in a way ({getattr(kind, 'name', kind)}) that needs "
                "imagecodecs: pip install 'maskrcnnpp[slides]'"
            )


def _plane(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """Height and width."""
    sizes = dict(zip(series.axes, series.shape))
    return sizes["Y"], sizes["X"]


def _pixel_size(file: tifffile.TiffFile) -> float | None:
    """Micrometres a pixel, of OME or ImageJ metadata; None where these are odd or it is oblong."""
    try:
        return _ome_pixel_size(file) if file.is_ome else _imagej_pixel_size(file)
    except (AttributeError, KeyError, LookupError, TypeError, ValueError):
        return None


def _ome_pixel_size(file: tifffile.TiffFile) -> float | None:
    pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
    sides = []
    for axis in "XY":
        factor = _MICROMETRES[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
        sides.append(float(pixels.get(f"PhysicalSize{axis}", pixels["PhysicalSizeX"])) * factor)
    return _side_of_square(*sides)


def _imagej_pixel_size(file: tifffile.TiffFile) -> float | None:
    if not file.is_imagej:
        return None
    factor = _MICROMETRES[file.imagej_metadata.get("unit", "")]
    sides = []
    for axis in "XY":
        pixels, units = file.pages[0].tags[f"{axis}Resolution"].value
        sides.append(factor * units / pixels)
    return _side_of_square(*sides)


def _side_of_square(width: float, height: float) -> float | None:
    is_square = width > 0 and abs(width - height) <= _SQUARE * width
    return width if is_square else None
