"""Reader of outlines drawn in Aperio ImageScope, such as those of MoNuSeg and Kumar.

    Tissue Images/a.tif and Annotations/a.xml    two folders side by side, or one in the other's
    a.tif and a.xml                              side by side

Every ``Region`` of every layer is a nucleus, filled as a polygon, self-crossing ones too. A region
that is to be cut out of others (``NegativeROA="1"``) is left out, with a problem: the file does not
say out of which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from maskrcnnpp.convert.pairing import Pair, find_by_stem
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode import decode_pair
from maskrcnnpp.convert.readers.objects import check_inside
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.polygons import polygon_mask
from maskrcnnpp.masks.rle import Rle


class _Region(NamedTuple):
    id: str
    is_negative: bool
    points: list[tuple[str | None, str | None]]
    """X and Y of every vertex, as they are written."""


class _OutsideError(ValueError):
    """A region has its points outside the image."""


class MonusegReader(Reader):
    """Images with outlines of ImageScope, of a folder or zip archive."""

    def __init__(self, source: str | os.PathLike, problems: ProblemLog) -> None:
        super().__init__(source, problems)
        with FileSource(source) as files:
            found, bad = find_by_stem(list_files(files, problems), ".xml")
        self._take_pairs(found, bad)
        self._require_entries(
            "holds no image with an .xml of the same name; put them side by side, "
            "or into the folders Images and Annotations"
        )

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        return bool(find_by_stem(names, ".xml")[0])

    @property
    def decoder(self) -> Decoder:
        return _decode


def _decode(files: FileSource, pair: Pair) -> Result:
    def annotated(pixels: np.ndarray) -> tuple[list[Rle], None, list[Problem]]:
        masks, problems = [], []
        outside = 0
        for region in _regions(files.read(pair.annotation)):
            try:
                masks.append(_mask(region, *pixels.shape[:2]))
            except ValueError as error:
                outside += isinstance(error, _OutsideError)
                reason = f"region {region.id}: {error}"
                problems.append(Problem("object", pair.name, pair.annotation, reason))
        check_inside(outside, len(masks))
        return masks, None, problems

    return decode_pair(files, pair, annotated)


def _regions(content: bytes) -> Iterator[_Region]:
    """The regions of all layers.

    Raises:
        DataError: it is not a file of ImageScope.
    """
    try:
        _refuse_doctype(content)
        root = ElementTree.fromstring(content)
    # ValueError, LookupError: of encodings that there are not
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(
            f"is not an XML file, or cut short ({error}); fetch or export it again"
        ) from error
    if root.tag != "Annotations":
        raise DataError(f"is not of ImageScope: begins with <{root.tag}>, not <Annotations>")
    for number, region in enumerate(root.iter("Region"), start=1):
        yield _Region(
            id=region.get("Id") or f"number {number}",
            is_negative=region.get("NegativeROA", "0").strip() == "1",
            points=[(vertex.get("X"), vertex.get("Y")) for vertex in region.iter("Vertex")],
        )


def _refuse_doctype(content: bytes) -> None:
    """Before entities can be declared, which could name other files or fill the memory."""

    def refuse(*_: object) -> None:
        raise DataError("has a DOCTYPE, which ImageScope does not write; remove it")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


def _mask(region: _Region, height: int, width: int) -> Rle:
    """
    Raises:
        ValueError: it has none. The message says why.
    """
    if region.is_negative:
        raise ValueError("is negative: is to be cut out of others, which is not read; left out")
    if len(region.points) < 3:
        raise ValueError(f"has {len(region.points)} vertices and encloses nothing; remove it")
    try:
        ring = np.array(region.points, dtype=np.float64)
    except ValueError:
        ring = np.array([np.nan])
    if not np.isfinite(ring).all():  # None, of what is not there, becomes nan
        raise ValueError("has a vertex whose X and Y are not both finite numbers; mend it")
    low, high, size = ring.min(axis=0), ring.max(axis=0), np.array([width, height])
    if (high <= 0).any() or (low >= size).any():
        raise _OutsideError(f"lies outside the image of {width}x{height} pixels; remove it")
    # a rasteriser goes along all of the outline
    if (low < -size).any() or (high > 2 * size).any():
        raise _OutsideError(f"reaches far outside the image of {width}x{height} pixels; mend it")
    mask = polygon_mask([ring], [], height, width)
    if mask is None:
        raise ValueError("holds no pixel; remove it")
    return mask
