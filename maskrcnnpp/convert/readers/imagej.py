"""Reader of ImageJ's ROIs.

    a.zip, a.roi beside a.tif                               what the ROI manager saves
    a_rois.zip, a_RoiSet.zip, RoiSet_a.zip beside a.tif     the same
    a.tif.rois.zip beside a.tif                             this project's own files
    RoiSet.zip                                              in a folder with one image

Areas are objects: polygons, freehand and traced outlines, ovals, rectangles and composites. They
belong to the image whatever channel they were drawn on, but all to one slice and frame. Needs
roifile.
"""

from __future__ import annotations

import functools
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.coco.categories import NUCLEUS_ID
from maskrcnnpp.convert.pairing import (
    Pair,
    check_any,
    find_entries,
    images_beside,
    is_image,
    is_output,
)
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode import decode_pair
from maskrcnnpp.convert.readers.objects import Region, check_planes, collect
from maskrcnnpp.convert.source import FileSource, is_hidden
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.polygons import ellipse_mask, make_ring, ring_mask
from maskrcnnpp.masks.rle import Rle, encode_crop

if TYPE_CHECKING:
    from roifile import ImagejRoi

_LARGEST_ROI = 2**24  # bytes
_WITHOUT_AREA = ("ANGLE", "FREELINE", "LINE", "NOROI", "POINT", "POLYLINE")
_ENDINGS = re.compile(r"[._ -]?(rois?|roi_?set)$", re.IGNORECASE)
_BEGINNING = re.compile(r"^roi_?set[._ -]", re.IGNORECASE)
_ALONE = re.compile(r"roi_?set$", re.IGNORECASE)


class ImagejReader(Reader):
    """Images with ROIs of ImageJ."""

    def __init__(self, source: str | os.PathLike, problems: ProblemLog) -> None:
        """
        Args:
            source, problems: see :class:`Reader`.

        Raises:
            DataError: see :class:`Reader`; or roifile is not installed.
        """
        super().__init__(source, problems)
        _roifile()
        with FileSource(source) as files:
            there = list_files(files, problems)
        images = _find(there)
        self._entries, bad = find_entries(there, images, "a.zip or a_rois.zip for a.tif")
        problems.add(*bad)
        check_any(
            self.source,
            problems,
            self._entries if images else {},
            "ROIs of ImageJ; put a.zip or a_rois.zip beside a.tif, or RoiSet.zip into a folder "
            "with one image",
        )

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        return any(_find(names).values())

    @property
    def decoder(self) -> Decoder:
        return _decode


def _roifile() -> Any:
    """The package.

    Raises:
        DataError: it is not installed.
    """
    try:
        import roifile
    except ImportError as error:
        raise DataError(
            "ROIs of ImageJ need roifile: pip install 'maskrcnnpp[outlines]'"
        ) from error
    return roifile


def _find(names: list[str]) -> dict[str, list[str]]:
    """Files of ROIs and the images that each may belong to."""
    found = images_beside(names, _keys)
    alone = [name for name in found if not found[name] and _ALONE.match(PurePosixPath(name).stem)]
    if alone:
        there = set(names)
        images = [name for name in there if is_image(name) and not is_output(name, there)]
        for name in alone:
            folder = PurePosixPath(name).parent
            here = [image for image in images if PurePosixPath(image).parent == folder]
            # two images, or none: reported as a file without an image of its name
            found[name] = here if len(here) == 1 else []
    return found


def _keys(name: str) -> list[str]:
    path = PurePosixPath(name)
    if path.suffix.lower() not in (".zip", ".roi"):
        return []
    keys = [path.stem, _ENDINGS.sub("", path.stem), _BEGINNING.sub("", path.stem)]
    return [str(path.with_name(key)) for key in keys if key]


def _members(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """ROIs of a file, each with what it is called.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    if PurePosixPath(name).suffix.lower() == ".roi":
        if len(content) > _LARGEST_ROI:
            raise DataError(f"is too large for a ROI: {len(content)} bytes")
        yield "the ROI", content
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            rois = [info for info in infos if _is_roi(info.filename)]
            if infos and not rois:
                raise DataError("holds no .roi files, as the ROI manager of ImageJ saves them")
            for info in rois:
                yield f"ROI {info.filename!r}", _member(archive, info)
    # NotImplementedError and RuntimeError: unknown compression, encrypted archives
    except (
        OSError, EOFError, ValueError, struct.error, zipfile.BadZipFile, zlib.error,
        NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        raise DataError(f"is not a zip of ROIs, or damaged ({error})") from error


def _is_roi(name: str) -> bool:
    return name.lower().endswith(".roi") and not is_hidden(name)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > _LARGEST_ROI:
        raise DataError(f"holds {info.filename!r}, too large for a ROI: {info.file_size} bytes")
    return archive.read(info)


def _parse(content: bytes) -> ImagejRoi:
    try:
        return _roifile().ImagejRoi.frombytes(content)
    except DataError:
        raise
    except Exception as error:  # of a parser of bytes, which raises what comes up
        raise DataError(f"is not an ROI of ImageJ, or damaged ({error})") from error


def _plane_of(roi: ImagejRoi, channels: int) -> tuple[int, int]:
    """Slice and frame, from 1; 0 stands for any."""
    z, t = roi.z_position, roi.t_position
    # without z and t, "position" is the slice of a stack, or the channel of an image that has some
    if not (roi.c_position or z or t) and channels == 1:
        z = roi.position
    return max(z, 0), max(t, 0)


def _mask(roi: ImagejRoi, height: int, width: int) -> Rle | None:
    roifile = _roifile()
    kinds, subtypes = roifile.ROI_TYPE, roifile.ROI_SUBTYPE
    if roi.subtype in (subtypes.TEXT, subtypes.IMAGE, subtypes.ARROW):
        raise Region(f"is of the kind {roi.subtype.name.lower()}, which has no area")
    if roi.composite:
        return _even_odd(_path(roi), height, width)
    if roi.roitype in (kinds.RECT, kinds.OVAL):
        return _box_mask(roi, roi.roitype == kinds.OVAL, height, width)
    if roi.roitype.name in _WITHOUT_AREA:
        raise Region(f"is of the kind {roi.roitype.name.lower()}, which has no area")
    if roi.roitype not in (kinds.POLYGON, kinds.FREEHAND, kinds.TRACED):
        raise DataError("is of a kind that ImageJ has not: it may be damaged")
    if roi.options & roifile.ROI_OPTIONS.SPLINE_FIT:
        raise DataError(
            "is a curve, of which the file holds the knots alone; choose Edit > Selection > "
            "Interpolate in ImageJ and save it again"
        )
    return ring_mask(roi.coordinates(), (), height, width)


def _box_mask(roi: ImagejRoi, is_oval: bool, height: int, width: int) -> Rle | None:
    x0, y0 = roi.left, roi.top
    # where both sides are at 0 or before, roifile takes the second for one beyond 2**15
    x1, y1 = x0 + (roi.right - x0) % 2**16, y0 + (roi.bottom - y0) % 2**16
    if roi.subpixelrect:
        x0, y0, x1, y1 = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
    if is_oval:
        middle, radii = ((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)
        return ellipse_mask(middle, radii, height, width)
    if roi.rounded_rect_arc_size > 0:
        raise DataError(
            "is a rectangle with round corners; choose Edit > Selection > Interpolate in ImageJ "
            "and save it again"
        )
    return ring_mask([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], (), height, width)


def _path(roi: ImagejRoi) -> list[np.ndarray]:
    """The rings of a composite.

    Raises:
        DataError: it has curves, or is damaged.
    """
    try:
        rings = roi.coordinates(multi=True)
    except NotImplementedError as error:
        raise DataError(
            "is a composite with curves; choose Edit > Selection > Interpolate in ImageJ and save "
            "it again"
        ) from error
    except Exception as error:
        raise DataError(f"is a damaged composite ({error})") from error
    return [ring for ring in map(make_ring, rings) if len(ring) > 2]


def _even_odd(rings: list[np.ndarray], height: int, width: int) -> Rle | None:
    """Mask of what lies in an odd number of rings, which is what ImageJ means by a composite."""
    if not rings:
        return None
    points = np.concatenate(rings)
    low = np.clip(np.floor(points.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), 0, (width, height)).astype(int)
    if (high <= low).any():
        return None
    columns, rows = (int(length) for length in high - low)
    inside = np.zeros((rows, columns), dtype=bool)
    for ring in rings:
        mask = ring_mask(ring - low, (), rows, columns)
        if mask is not None:
            inside ^= coco_mask.decode(mask).astype(bool)
    return encode_crop(inside, int(low[1]), int(low[0]), height, width) if inside.any() else None


def _decode(files: FileSource, pair: Pair) -> Result:
    def make(shape: tuple[int, ...], content: bytes) -> tuple[Rle | None, int]:
        roi = _parse(content)
        mask = _mask(roi, *shape[:2])
        planes.add(_plane_of(roi, shape[2]))
        return mask, NUCLEUS_ID

    def annotated(pixels: np.ndarray) -> tuple[list[Rle], list[int], list[Problem]]:
        members = _members(files.read(pair.annotation), pair.annotation)
        found = collect(pair, members, functools.partial(make, pixels.shape))
        check_planes(planes - {(0, 0)})
        return found

    planes: set[tuple[int, int]] = set()
    return decode_pair(files, pair, annotated)
