"""Reader of the Cell Tracking Challenge, two-dimensional sets.

    01/t000.tif                    images of a sequence, numbered with 3 or 4 digits
    01_GT/SEG/man_seg000.tif       gold truth of some of them: 0 is background
    01_ST/SEG/man_seg000.tif       silver truth: made by computers from several results

    01_GT/TRA/man_track000.tif     a marker for each cell

Gold truth is sparse: only images that have it are read, the others are no problem and not in
``names``. Of real sets it may hold only some of the cells of an image: the others would be trained
on as background. The markers tell, and an image without some of its cells is a problem. Silver
truth, and the truth of simulated sets (SIM+), is meant to hold all; what it lacks is a note.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from maskrcnnpp.convert.pairing import Pair
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode_labels import decode_labels
from maskrcnnpp.convert.readers.labels import decode_labelled
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError

_TRUTHS = ("GT", "ST")
_SEGMENTATION = re.compile(r"(?P<sequence>(?:.*/)?\d\d)_(?P<truth>GT|ST)/SEG/(?P<file>[^/]+)")
_TRACK = re.compile(r"(?:.*/)?\d\d_GT/TRA/man_track\d{3,4}\.tif")
_FRAME = re.compile(r"man_seg(\d{3,4})\.tif")
_SLICE = re.compile(r"man_seg_\d{3,4}_\d{3,4}\.tif")


class _Found(NamedTuple):
    pairs: list[tuple[str, str]]
    """Image and segmentation of each."""
    problems: list[Problem]


class CtcReader(Reader):
    """Frames with a segmentation, of a folder or zip archive with one or more sequences."""

    def __init__(
        self,
        source: str | os.PathLike,
        problems: ProblemLog,
        *,
        truth: Literal["GT", "ST"] = "GT",
    ) -> None:
        """
        Args:
            source, problems: see :class:`Reader`.
            truth: "GT", gold, or "ST", silver.

        Raises:
            DataError: see :class:`Reader`; or there is no such truth.
        """
        super().__init__(source, problems)
        if truth not in _TRUTHS:
            raise DataError(f"truth {truth!r}: is GT (gold) or ST (silver)")
        with FileSource(source) as files:
            there = list_files(files, problems)
        found = _find(there, truth)
        self._truth = truth
        self._tracks = frozenset(name for name in there if _TRACK.fullmatch(name))
        self._take_pairs(found.pairs, found.problems)
        self._require_entries(_why_nothing(there, truth))

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        # of three dimensions, too: it is reported then that they are not read
        matches = [match for name in names if (match := _SEGMENTATION.fullmatch(name))]
        return any(_FRAME.fullmatch(m["file"]) or _SLICE.fullmatch(m["file"]) for m in matches)

    @property
    def decoder(self) -> Decoder:
        return functools.partial(_decode, truth=self._truth, tracks=self._tracks)


def _decode(files: FileSource, pair: Pair, *, truth: str, tracks: frozenset[str]) -> Result:
    def check(labels: np.ndarray) -> list[tuple[str, str]]:
        match = _SEGMENTATION.fullmatch(pair.annotation)
        number = _FRAME.fullmatch(match["file"])[1]
        track = f"{match['sequence']}_GT/TRA/man_track{number}.tif"
        if track not in tracks:
            reason = f"has no markers, {track}, which tell whether it holds all cells"
            return [("note", reason)] if truth == "GT" else []
        try:
            markers = decode_labels(files, track)
        except DataError as error:
            raise DataError(f"has the markers {track}, which cannot be read: {error}") from error
        if markers.shape != labels.shape:
            raise DataError(f"has the markers {track}, which are of another size")
        cells, sizes = np.unique(markers[markers > 0], return_counts=True)
        held, counts = np.unique(markers[(markers > 0) & (labels > 0)], return_counts=True)
        drawn = dict(zip(held.tolist(), counts.tolist()))
        # less than half: the marker of a cell that is not drawn may reach into a neighbour
        lacking = sum(2 * drawn.get(cell, 0) < size for cell, size in zip(cells.tolist(), sizes))
        if not lacking:
            return []
        reason = f"lacks {lacking} of the {len(cells)} cells that {track} marks"
        if truth == "ST":
            return [("note", reason)]
        raise DataError(f"{reason}, which would be trained on as background: use --truth ST")

    return decode_labelled(files, pair, check=check)


def _find(names: Iterable[str], truth: str) -> _Found:
    """Frames and their segmentations, by name."""
    there = Counter(names)
    found = _Found([], [])
    slices: dict[str, list[str]] = defaultdict(list)
    for name in sorted(there):
        match = _SEGMENTATION.fullmatch(name)
        if match is None or match["truth"] != truth:
            continue
        frame = _FRAME.fullmatch(match["file"])
        if frame is not None:
            image = f"{match['sequence']}/t{frame[1]}.tif"
            twice = next((file for file in (image, name) if there[file] > 1), None)
            if twice:
                reason = "the archive holds this file twice; pack it again"
                found.problems.append(Problem("image", image, twice, reason))
            elif image in there:
                found.pairs.append((image, name))
            else:
                reason = f"has no image {image}; add it"
                found.problems.append(Problem("image", image, name, reason))
        elif _SLICE.fullmatch(match["file"]):
            slices[match["sequence"]].append(name)
        elif PurePosixPath(name).suffix.lower() in (".tif", ".tiff"):
            reason = "is not called man_seg and the 3 or 4 digits of an image, .tif; rename it"
            found.problems.append(Problem("file", "", name, reason))
    for files in slices.values():
        others = f" (and {len(files) - 1} more of this sequence)" if len(files) > 1 else ""
        reason = f"is of a slice of a three-dimensional image, which is not read{others}"
        found.problems.append(Problem("file", "", files[0], reason))
    return found


def _why_nothing(names: Iterable[str], truth: str) -> str:
    others = {match["truth"] for name in names if (match := _SEGMENTATION.fullmatch(name))}
    if others - {truth}:
        return f"holds no 01_{truth}/SEG/man_seg000.tif; choose the other truth, {others.pop()}"
    return (
        f"holds no 01/t000.tif with 01_{truth}/SEG/man_seg000.tif; name the folder that a training "
        "set of the Cell Tracking Challenge was unpacked into"
    )
