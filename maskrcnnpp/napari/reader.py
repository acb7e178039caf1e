"""Label images that ``maskrcnnpp predict`` has written, as layers with their table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from maskrcnnpp.errors import DataError, first_line

#: Endings of the files that are claimed: those of the writers of label images, which take seconds
#: to import.
LABELS, CLASSES = ".labels.tif", ".classes.tif"
# files beside them that only this project writes: of predict, and of the widget
_RECORD = "run.json"
OWN_RECORD = ".run.json"

LayerData = tuple[np.ndarray, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """The reader of a label image that this project wrote; None for all else.

    Such an image lies beside the record of its run.

    Args:
        path: of a file; of several, which napari would stack, none is claimed.
    """
    if not isinstance(path, str):
        return None
    file = Path(path)
    ending = next((e for e in (LABELS, CLASSES) if file.name.endswith(e)), None)
    if ending is None or not file.is_file():
        return None
    own = file.with_name(file.name.removesuffix(ending) + OWN_RECORD)
    return read if own.is_file() or file.with_name(_RECORD).is_file() else None


def read(path: str) -> list[LayerData]:
    """A Labels layer, with the CSV of the same image as its features where there is one.

    That of a stitched stack has a row for each plane of an object, and napari takes one: it is left
    out.

    Raises:
        DataError: it cannot be read, or is not a label image. The message names the file.
    """
    file = Path(path)
    try:
        labels = tifffile.imread(file)
    except Exception as error:  # tifffile raises what it likes
        raise DataError(f"{file} cannot be read as a TIFF: {first_line(error)}") from error
    if not 2 <= labels.ndim <= 4 or labels.dtype.kind != "u":
        raise DataError(
            f"{file} is not a label image: it has {labels.ndim} dimensions of {labels.dtype}, not "
            "height and width, or a stack of them, of unsigned integers"
        )
    about: dict[str, Any] = {"name": file.name}
    table = file.with_name(file.name.removesuffix(LABELS) + ".csv")
    if file.name.endswith(LABELS) and table.is_file():
        found = features(*_columns(table))
        if len(set(found["index"])) == len(found["index"]):
            about["features"] = found
    return [(labels, about, "labels")]


def features(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """A table as napari's Labels layers take it: each row belongs to the label ``index``.

    Args:
        names: of the columns; the first is ``number``.
        rows: values of each object.
    """
    columns = [list(values) for values in zip(*rows)] or [[] for _ in names]
    return {"index": columns[0], **dict(zip(names, columns))}


def _columns(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Names and rows of a CSV of predict.

    Raises:
        DataError: it is another CSV, or damaged.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            names, *rows = list(csv.reader(file))
        if names[:1] != ["number"] or any(len(row) != len(names) for row in rows):
            raise ValueError("its columns are not those of maskrcnnpp predict")
        values = [
            [word if name == "class" else float(word) for name, word in zip(names, row)]
            for row in rows
        ]
        return names, [[int(row[0]), *row[1:]] for row in values]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}, the table beside the label image, cannot be read: {error}; repair it, or "
            "move it away"
        ) from error
