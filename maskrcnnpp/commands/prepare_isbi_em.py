"""The command ``maskrcnnpp prepare isbi-em``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from maskrcnnpp.convert.semantic.label_map import LabelMap
from maskrcnnpp.convert.semantic.source import SemanticItem, read_source
from maskrcnnpp.convert.semantic.write import (
    FRACTIONS,
    convert_semantic,
    drawn_splits,
    semantic_summary,
    semantic_train_command,
)
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.errors import DataError

INFO = {
    "description": "ISBI 2012 challenge: segmentation of neuronal structures in EM stacks",
    "url": "https://imagej.net/events/isbi-2012-segmentation-challenge",
}
_PLACES = (("images", "labels"), ("train-volume.tif", "train-labels.tif"))
# 255 is the inside of cells
LABELS = LabelMap({"membrane": (0,)}, background=(255,))


def find_source(folder: Path) -> tuple[Path, Path]:
    for images, labels in _PLACES:
        if (folder / images).exists() and (folder / labels).exists():
            return folder / images, folder / labels
    wanted = ", nor ".join(f"{images} and {labels}" for images, labels in _PLACES)
    raise DataError(f"{folder} has neither {wanted}; name the folder of the unpacked data")


def _numbered(items: Iterable[SemanticItem]) -> Iterator[SemanticItem]:
    """Planes of the stack under the names that the folders have, 0, 1, ...: for the same splits."""
    for item in items:
        plane = re.fullmatch(r".*_z(\d+)", item.name)
        yield item._replace(name=str(int(plane[1]))) if plane else item


def run(args: argparse.Namespace) -> None:
    output = args.output or datasets_root() / "isbi2012_em"
    # of 30 images 24, 3 and 3
    draw = partial(drawn_splits, fractions=FRACTIONS, seed=0)
    items = _numbered(read_source(*find_source(args.source)))
    records, splits = convert_semantic(items, output, LABELS, draw, info=INFO)
    print(semantic_summary(records, splits, LABELS))
    command = semantic_train_command(output, records, splits, LABELS)
    print(f"\nwritten to {output}; to train on it:\n  {command}")
