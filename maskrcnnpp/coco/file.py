"""COCO annotation files, read."""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnnpp.errors import DataError

#: What the metrics need of an annotation, beside its mask.
ANNOTATION_KEYS = ("image_id", "category_id", "bbox", "area")
# of each list, what an entry is called and what it needs
_ENTRIES = {
    "images": ("image", ("id", "height", "width")),
    "annotations": ("annotation", ANNOTATION_KEYS),
    "categories": ("category", ("id", "name")),
}
_UNREADABLE = "cannot be read as a COCO annotation file"
_KEPT = 4  # files, of which the content is kept


def load_coco_truth(path: str | os.PathLike) -> dict[str, Any]:
    """Read a COCO annotation file and check what the metric needs of it.

    Returns:
        The file's dict, not to be changed: it is kept for the next reader, until
        :func:`forget_files`. ``annotations`` is missing when the file has none (a test set).

    Raises:
        DataError: the file cannot be read, is not COCO, or an annotation lacks a needed key.
    """
    truth = read_coco(path)
    for kind, (what, keys) in _ENTRIES.items():
        for number, entry in enumerate(entries_of(truth, kind, path)):
            if missing := [key for key in keys if key not in entry]:
                name = entry.get("id", f"number {number}")
                raise DataError(f"{path}: {what} {name} has no {missing[0]!r}")
    return truth


def read_coco(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a COCO file, as :func:`load_coco_truth` but for what entries need.

    Raises:
        DataError: it cannot be read, or is not COCO.
    """
    try:
        about = os.stat(path)
        return _read(os.fspath(path), about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise DataError(f"{path}: {_UNREADABLE}: {error}") from error


@functools.lru_cache(maxsize=_KEPT)
def _read(path: str, *_: int) -> dict[str, Any]:
    return parse_coco(Path(path).read_bytes(), path)


def forget_files() -> None:
    """Give back the memory of files that were read."""
    _read.cache_clear()


def parse_coco(
    content: bytes, where: str, object_hook: Callable[[dict[str, Any]], Any] | None = None
) -> dict[str, Any]:
    """The content of a COCO file.

    Args:
        content: of the file.
        where: what it is called in messages.
        object_hook: see :func:`json.loads`.

    Raises:
        DataError: it is not JSON, or has no ``images`` or ``categories``.
    """
    try:
        # some programs write a byte order mark
        truth = json.loads(content.decode("utf-8-sig"), object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {_UNREADABLE}: {error}") from error
    if not isinstance(truth, dict) or not {"images", "categories"} <= truth.keys():
        raise DataError(f"{where}: not a COCO annotation file: no 'images' or no 'categories'")
    return truth


def entries_of(truth: Mapping[str, Any], kind: str, where: object) -> list[dict[str, Any]]:
    """A list of a COCO file, empty where it has none.

    Args:
        truth: the content of the file.
        kind: "images", "annotations" or "categories".
        where: what the file is called in messages.

    Raises:
        DataError: it is not a list, or an entry has no keys.
    """
    entries = truth.get(kind, [])
    if not isinstance(entries, list):
        raise DataError(f"{where}: {kind!r} is not a list")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(
                f"{where}: {_ENTRIES[kind][0]} number {number} is not an object with keys"
            )
    return entries


def load_records(path: str | os.PathLike, image_root: str | os.PathLike, name: str) -> list[dict]:
    """Detectron2's dataset dicts of a COCO file, for the data set ``name``.

    Raises:
        DataError: Detectron2 cannot load it.
    """
    from detectron2.data.datasets.coco import load_coco_json  # for a training alone

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
    """The command that reports all that is wrong with a COCO file."""
    command = ["maskrcnnpp", "check", str(path), "--images", str(image_root)]
    return f"All that is wrong with it is reported by:\n  {shlex.join(command)}"
