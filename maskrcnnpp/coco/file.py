"""COCO annotation files, read."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.data.datasets.coco import load_coco_json

from maskrcnnpp.errors import DataError

_IMAGE_KEYS = ("id", "height", "width")
_CATEGORY_KEYS = ("id", "name")
#: What the metrics need of an annotation, beside its mask.
ANNOTATION_KEYS = ("image_id", "category_id", "bbox", "area")


def load_coco_truth(path: str | os.PathLike) -> dict[str, Any]:
    """Read a COCO annotation file and check what the metric needs of it.

    Returns:
        The file's dict. ``annotations`` is missing when the file has none (a test set).

    Raises:
        DataError: the file cannot be read, is not COCO, or an annotation lacks a needed key.
    """
    try:
        with open(path, encoding="utf-8-sig") as handle:  # some programs write a byte order mark
            truth = json.load(handle)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as a COCO annotation file: {error}") from error
    if not isinstance(truth, dict) or not {"images", "categories"} <= truth.keys():
        raise DataError(f"{path}: not a COCO annotation file: no 'images' or no 'categories'")
    needs = (
        ("images", "image", _IMAGE_KEYS),
        ("annotations", "annotation", ANNOTATION_KEYS),
        ("categories", "category", _CATEGORY_KEYS),
    )
    for kind, what, keys in needs:
        entries = truth.get(kind, [])
        if not isinstance(entries, list):
            raise DataError(f"{path}: {kind!r} is no list")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise DataError(f"{path}: {what} number {number} is no object with keys")
            if missing := [key for key in keys if key not in entry]:
                name = entry.get("id", f"number {number}")
                raise DataError(f"{path}: {what} {name} has no {missing[0]!r}")
    return truth


def load_records(path: str | os.PathLike, image_root: str | os.PathLike, name: str) -> list[dict]:
    """Detectron2's dataset dicts of a COCO file, for the data set ``name``.

    Raises:
        DataError: Detectron2 cannot load it.
    """
    try:
        with _without_mark(path) as file:
            return load_coco_json(str(file), str(image_root), name)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        reason = str(error.args[0]) if error.args else "no reason is given"
        raise DataError(
            f"{path}: Detectron2 cannot load it: {type(error).__name__}: {reason}\n"
            f"{validate_hint(path, image_root)}"
        ) from error


@contextlib.contextmanager
def _without_mark(path: str | os.PathLike) -> Iterator[str | os.PathLike]:
    """The file, or a copy without the byte order mark at its head, which Detectron2 cannot read."""
    content = Path(path).read_bytes()
    if not content.startswith(codecs.BOM_UTF8):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(path).name
        copy.write_bytes(content.removeprefix(codecs.BOM_UTF8))
        yield copy


def validate_hint(path: str | os.PathLike, image_root: str | os.PathLike) -> str:
    """The command that tells all that is wrong with a COCO file."""
    command = ["python", "tools/validate_coco.py", str(path), "--images", str(image_root)]
    return f"All that is wrong with it is told by:\n  {shlex.join(command)}"
