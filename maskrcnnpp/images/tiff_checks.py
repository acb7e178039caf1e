"""Checks of a TIFF, before its pixels are read."""

from __future__ import annotations

import math
from pathlib import Path

import tifffile

from maskrcnnpp.errors import DataError
from maskrcnnpp.images.raster import to_be_turned
from maskrcnnpp.images.tiff_series import size_of

AT_ONCE = 2**26  #: bytes of an image that is read at once
_SEGMENT = 2**30  # bytes that a strip or tile may unpack to: it is decoded as a whole
_RATIO = 4096  # of pixels to bytes in a file; the best of real images is far below it
_ORIENTATION = 274  # number of a tag


def check_pixels_are_there(
    path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> None:
    """Check that all pixels are there: decoders may make missing ones black.

    Raises:
        DataError: they are not, lie in other files, or would unpack to more than a memory holds.
    """
    for page in series.pages:
        if page is None:
            raise DataError(f"{path} lacks planes of its image: save it again, whole")
        if page.parent is not file:
            raise DataError(
                f"{path} is one of several files of an image (OME); save that as one file"
            )
        segments = [(s, n) for s, n in zip(page.dataoffsets, page.databytecounts) if s and n]
        if any(start + count > file.filehandle.size for start, count in segments):
            raise DataError(f"{path} is cut short: it ends before its pixels do")
        expected = math.prod(page.keyframe.chunked)
        # of LSM the number of rows of a strip is wrong
        if len(segments) < (1 if page.keyframe.is_lsm else expected):
            raise DataError(
                f"{path} has {len(segments)} of the {expected} strips or tiles of its image, the "
                "rest would be black: fetch it again, or save it whole where it was made"
            )
    page, size = series.keyframe, series.size * series.dtype.itemsize
    shown = "x".join(map(str, size_of(series)[::-1]))
    is_packed = page.compression != tifffile.COMPRESSION.NONE
    if size > max(AT_ONCE, _RATIO * file.filehandle.size):
        raise DataError(
            f"{path} says that it has {shown} pixels, which its {file.filehandle.size} bytes "
            "cannot hold: it is damaged, or made to fill the memory; fetch or save it again"
        )
    if is_packed and math.prod(page.chunks) * series.dtype.itemsize > _SEGMENT:
        raise DataError(
            f"{path} of {shown} pixels is packed in strips or tiles of more than "
            f"{_SEGMENT // 2**20} MiB, each read as a whole: save it with tiles of 512x512"
        )


def check_codecs(path: Path, page: tifffile.TiffPage) -> None:
    tables = tifffile.TIFF.DECOMPRESSORS, tifffile.TIFF.UNPREDICTORS
    for kind, table in zip((page.compression, page.predictor), tables):
        if kind not in table:
            raise DataError(
                f"{path} is compressed in a way ({getattr(kind, 'name', kind)}) that needs "
                "imagecodecs: pip install 'maskrcnnpp[slides]'"
            )


def check_upright(path: Path, page: tifffile.TiffPage) -> None:
    """Check that the image is upright: a large file is read in parts, which are not turned."""
    tag = page.tags.get(_ORIENTATION)
    # 0 is not an orientation, and written where none is known
    if tag is not None and tag.value not in (0, 1):
        raise DataError(to_be_turned(path, tag.value))
