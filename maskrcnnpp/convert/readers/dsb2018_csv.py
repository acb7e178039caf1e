"""Reader of the run-length table of the 2018 Data Science Bowl, with the images beside it.

    ImageId,EncodedPixels[,Height,Width,Usage]      one object a row

EncodedPixels holds pairs "start length": places counted from 1 down the columns. It is empty for an
image without objects. The images are <ImageId>/images/<ImageId>.png, images/<ImageId>.<suffix> or
<ImageId>.<suffix>, in any folder. The table lists the images: others in the source are not of the
data set.
"""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from maskrcnnpp.convert.pairing import IMAGE_SUFFIXES, choose_file, image_name
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode import decode_image, make_sample
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.readers.label_names import LABEL_FOLDERS, find_pairs
from maskrcnnpp.convert.source import FileSource, is_hidden
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.companions import LABEL_ENDINGS
from maskrcnnpp.masks.rle import Rle, rle_of_edges

_COLUMNS = ("ImageId", "EncodedPixels")
_IGNORED = "ignored"  # what Usage says of images that were not scored, whose rows are no truth
# of other programs' annotations
_OTHER_SUFFIXES = {".json", ".geojson", ".xml", ".roi", ".zip", ".mat", ".npy", ".npz"}


class Row(NamedTuple):
    """A line of the table."""

    line: int
    runs: str
    height: str
    width: str
    usage: str


class TableImage(NamedTuple):
    """An image and its rows."""

    name: str
    file: str
    table: str
    rows: tuple[Row, ...]


class Dsb2018CsvReader(Reader):
    """Images whose objects are run-lengths in a table.

    An object whose runs are no pairs, reach out of the image or overlap one another is left out,
    and an image that is missing, has another size than the table says, or was ignored in the
    competition. Each adds a problem to the log.
    """

    def __init__(
        self, source: str | os.PathLike, problems: ProblemLog, *, table: str | None = None
    ) -> None:
        """
        Args:
            source, problems: see :class:`Reader`.
            table: the CSV file, as the source names it; needed where there are several.

        Raises:
            DataError: see :class:`Reader`; or the table cannot be read, or lacks a column.
        """
        super().__init__(source, problems)
        with FileSource(source) as files:
            there = list_files(files, problems)
            self._table = choose_file(self.source, there, ".csv", "--table", table)
            #: Here the rows of an image.
            self._entries, bad = _read_table(files, self._table)
        problems.add(*bad)
        self._files = _images(there)
        self._require_entries(f"{self._table}: has no rows; fetch it again")

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        shown = [name for name in names if not is_hidden(name)]
        suffixes = {PurePosixPath(name).suffix.lower() for name in shown}
        if ".csv" not in suffixes or not suffixes & set(IMAGE_SUFFIXES):
            return False
        # tables of other kinds lie beside other annotations
        has_others = bool(suffixes & _OTHER_SUFFIXES) or Dsb2018Reader.fits(shown)
        return not has_others and not any(find_pairs(shown, LABEL_ENDINGS))

    def entry(self, name: str) -> TableImage | Problem:
        rows = self._entries[name]
        try:
            if any(row.usage.strip().lower() == _IGNORED for row in rows):
                raise DataError("the table says Ignored: its rows are no truth")
            if image_name(f"{name}.png") != name:
                raise DataError("cannot be a file name on every system; rename it")
            file = self._file(name)
        except DataError as error:
            return Problem("image", name, f"{self._table}: {name}", str(error))
        return TableImage(name, file, self._table, tuple(rows))

    @property
    def decoder(self) -> Decoder:
        return _decode

    def _file(self, name: str) -> str:
        found = self._files.get(name, [])
        if not found:
            raise DataError("the image is missing: put it beside the table")
        if len(set(found)) > 1:
            raise DataError(f"several images are called so; keep one: {', '.join(found[:3])}")
        if len(found) > 1:
            raise DataError("the archive holds its image twice; pack it again")
        return found[0]


def _images(names: list[str]) -> dict[str, list[str]]:
    """Image files by name without suffix, but for masks."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        path = PurePosixPath(name)
        is_image = (
            path.suffix.lower() in IMAGE_SUFFIXES and path.parent.name.lower() not in LABEL_FOLDERS
        )
        if is_image:
            found[path.stem].append(name)
    return found


def _read_table(files: FileSource, name: str) -> tuple[dict[str, list[Row]], list[Problem]]:
    """The rows of each image.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    where = f"{files.path}: {name}"
    try:
        text = files.read(name).decode("utf-8-sig")
        # the usual limit is less than the runs of a large object
        usual = csv.field_size_limit(max(len(text), 1))
        try:
            return _rows(text, name)
        finally:
            csv.field_size_limit(usual)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: cannot be read as a table ({error})") from error


def _rows(text: str, name: str) -> tuple[dict[str, list[Row]], list[Problem]]:
    table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    missing = [column for column in _COLUMNS if column not in (table.fieldnames or ())]
    if missing:
        raise DataError(f"has no column {' and '.join(missing)}; name another table with --table")
    rows: dict[str, list[Row]] = defaultdict(list)
    problems = []
    for row in table:
        image = row["ImageId"]
        if image is None or not image.strip():
            reason = "has no ImageId"
        elif None in row.values() or None in row:
            reason = "has another number of columns than the first line: fetch the table again"
        else:
            further = (row.get(column, "") for column in ("Height", "Width", "Usage"))
            rows[image.strip()].append(Row(table.line_num, row["EncodedPixels"], *further))
            continue
        item = f"{name}: line {table.line_num}"
        problems.append(Problem("object", (image or "").strip(), item, reason))
    if rows and not text.endswith(("\n", "\r")):  # its runs may be fewer than were written
        reason = "the last line does not end with a line break: is the table whole?"
        problems.append(Problem("note", "", f"{name}: line {table.line_num}", reason))
    return rows, problems


def _decode(files: FileSource, image: TableImage) -> Result:
    try:
        content, pixels = decode_image(files, image.file)
        height, width = pixels.shape[:2]
        for row in image.rows:
            _check_said(row, height, width)
    except DataError as error:
        return None, [Problem("image", image.name, image.file, str(error))]
    masks, problems = [], []
    for row in image.rows:
        if len(image.rows) == 1 and not row.runs.strip():
            break  # an image without objects
        try:
            masks.append(_mask(row.runs, height, width))
        except DataError as error:
            item = f"{image.table}: line {row.line}"
            problems.append(Problem("object", image.name, item, str(error)))
    sample = make_sample(image.name, image.file, (content, pixels), masks)
    return sample, problems


def _check_said(row: Row, height: int, width: int) -> None:
    for column, said, there in (("Height", row.height, height), ("Width", row.width, width)):
        try:
            is_so = not said.strip() or float(said) == there
        except ValueError:
            is_so = False
        if not is_so:
            raise DataError(f"has {there} pixels where {column} in line {row.line} says {said}")


def _mask(runs: str, height: int, width: int) -> Rle:
    """The mask of pairs "start length".

    Raises:
        DataError: they are no such pairs, reach out of the image, or overlap.
    """
    words = runs.split()
    if not words:
        raise DataError("has no runs, though its image has other rows")
    if len(words) % 2:
        raise DataError(f"has {len(words)} numbers, which are no pairs of start and length")
    if not all(word.removeprefix("-").isdecimal() for word in words):
        raise DataError("has runs that are no integers")
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64).reshape(-1, 2)
    except (ValueError, OverflowError) as error:  # of too many digits
        raise DataError(
            f"has a run that ends outside the image of {width}x{height} pixels"
        ) from error
    numbers = numbers[np.argsort(numbers[:, 0], kind="stable")]
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    if starts[0] < 0 or lengths.min() < 1:
        raise DataError("has a run that is not positive: places are counted from 1")
    if (lengths > height * width - starts).any():
        raise DataError(f"has a run that ends outside the image of {width}x{height} pixels")
    if (starts[1:] < starts[:-1] + lengths[:-1]).any():
        raise DataError("has runs that overlap one another")
    return rle_of_edges(np.concatenate((starts, starts + lengths)), height, width)
