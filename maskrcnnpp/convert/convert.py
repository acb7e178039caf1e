"""Any data set to COCO: what ``maskrcnnpp convert`` does."""

from __future__ import annotations

import csv
import inspect
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter, ImageRecord
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers import READERS, Reader
from maskrcnnpp.convert.source import FileSource, is_hidden
from maskrcnnpp.errors import ConfigError, DataError

#: Names by split, from what is known of each image.
SplitDrawer = Callable[[Mapping[str, ImageRecord]], Mapping[str, Sequence[str]]]


def open_reader(
    layout: str, source: str | os.PathLike, problems: ProblemLog, options: Mapping[str, Any]
) -> Reader:
    """The reader of a layout.

    Args:
        layout: a key of :data:`READERS`, or "auto".
        source: folder or zip archive.
        problems: takes up what is wrong with single files.
        options: of the reader, by name.

    Raises:
        ConfigError: there is no such layout, or it has not these options.
        DataError: the source is not of the layout, or "auto" finds none or several that fit.
    """
    if layout == "auto":
        # these say what the names of the files need not
        is_told = {"pairs", "label_ending"} & options.keys()
        layout = "labels" if is_told else find_layout(source)
    if layout not in READERS:
        raise ConfigError(f"--format {layout}: there is none; choose of {sorted(READERS)}")
    known = list(inspect.signature(READERS[layout]).parameters)[2:]
    for name in options:
        if name not in known:
            has = ", ".join(f"--{k.replace('_', '-')}" for k in known) or "none"
            raise ConfigError(
                f"--{name.replace('_', '-')} is not an option of the format {layout}, which has: "
                f"{has}"
            )
    return READERS[layout](source, problems, **options)


def find_layout(source: str | os.PathLike) -> str:
    """The layout that the names of a source's files look like.

    Raises:
        DataError: none, or several.
    """
    files = FileSource(source)
    try:
        names = [name for name in files.files() if not is_hidden(name)]
    finally:
        files.close()
    fitting = [layout for layout, reader in READERS.items() if reader.fits(names)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        layouts = " | ".join(fitting)
        raise DataError(f"{source} fits {' and '.join(fitting)}; name one: --format {layouts}")
    raise DataError(
        f"{source} looks like none of the known layouts; put label images into images/ and labels/ "
        f"under the same names, or name a layout: --format {' | '.join(sorted(READERS))}"
    )


def convert(
    reader: Reader, output: str | os.PathLike, draw: SplitDrawer, *, info: Mapping[str, Any]
) -> tuple[dict[str, ImageRecord], Mapping[str, Sequence[str]]]:
    """Write a data set as COCO: ``images/`` and ``annotations/instances_<split>.json``.

    Args:
        reader: of the source. Its problems end the conversion, or are listed in
            ``annotations/left_out.txt``, as its log says.
        output: folder; what a former conversion wrote there is replaced.
        draw: makes the splits.
        info: for the ``info`` of the JSON files.

    Returns:
        what is known of each image, and the splits.

    Raises:
        DataError: something is wrong with the source, no image is left, or the output cannot be
            written to. Nothing is written then.
    """
    problems = reader.problems
    with CocoDatasetWriter(output, info=info, categories=reader.categories) as writer:
        for sample in tqdm(reader.read(), total=len(reader.names), desc="convert", unit="image"):
            writer.add(sample)
        problems.raise_unless_skipped(reader.source)
        if not writer.records:
            raise DataError(f"{reader.source}: no image is left\n{problems.summary()}")
        empty = [record.file_name for record in writer.records.values() if not record.masks]
        if empty:
            reason = "has no object: a training leaves it out, unless told otherwise"
            problems.add(*(Problem("note", "", name, reason) for name in empty))
        splits = draw(writer.records)
        writer.commit(splits, left_out=problems.lines(), notes=problems.lines_of_notes())
        return writer.records, splits


def strata_of(records: Mapping[str, ImageRecord]) -> dict[str, tuple]:
    """Size and stain of each image, by which splits are balanced."""
    return {name: (r.height, r.width, r.stain) for name, r in records.items()}


def groups_by_pattern(names: Sequence[str], pattern: str) -> dict[str, str]:
    """The group of each name: what the pattern's first parentheses, or else all of it, match.

    Raises:
        ConfigError: it is not a regular expression, or does not match a name.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--group-by {pattern!r} is not a regular expression: {error}") from error
    groups = {}
    for name in names:
        match = compiled.search(name)
        if match is None:
            raise ConfigError(f"--group-by {pattern!r} matches nothing in the name {name!r}")
        groups[name] = match[1] if compiled.groups else match[0]
    return groups


def groups_of_file(names: Sequence[str], path: str | os.PathLike) -> dict[str, str]:
    """The group of each name by a CSV with the columns ``name`` and ``group``.

    Raises:
        DataError: it cannot be read, or lacks a name.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
        groups = {row["name"]: row["group"] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(
            f'{path}: cannot be read as a CSV with the columns "name" and "group" ({error})'
        ) from error
    lacking = [name for name in names if not groups.get(name)]
    if lacking:
        raise DataError(f"{path}: has no group for {len(lacking)} images, such as {lacking[0]}")
    return {name: groups[name] for name in names}
