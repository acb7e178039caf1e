#!/usr/bin/env python
"""Turn the ISBI 2012 EM challenge (membranes of neurons, 30 images) into a semantic data set."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

INFO = {
    "description": "ISBI 2012 challenge: segmentation of neuronal structures in EM stacks",
    "url": "https://imagej.net/events/isbi-2012-segmentation-challenge",
}
_PLACES = (("images", "labels"), ("train-volume.tif", "train-labels.tif"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--source",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder with images/ and labels/, or with train-volume.tif and train-labels.tif",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for images/, labels/ and annotations/; a former result there is replaced "
        "(default: $DETECTRON2_DATASETS/isbi2012_em, or datasets/isbi2012_em)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from maskrcnnpp.convert.semantic.label_map import LabelMap  # noqa: E402
from maskrcnnpp.convert.semantic.source import SemanticItem, read_source  # noqa: E402
from maskrcnnpp.convert.semantic.write import (  # noqa: E402
    FRACTIONS,
    convert_semantic,
    drawn_splits,
    semantic_summary,
    train_command,
)
from maskrcnnpp.data.catalog import datasets_root  # noqa: E402
from maskrcnnpp.errors import DataError, exit_on_user_error  # noqa: E402

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


def prepare(args: argparse.Namespace) -> None:
    output = args.output or datasets_root() / "isbi2012_em"
    # of 30 images 24, 3 and 3
    draw = partial(drawn_splits, fractions=FRACTIONS, seed=0)
    items = _numbered(read_source(*find_source(args.source)))
    records, splits = convert_semantic(items, output, LABELS, draw, info=INFO)
    print(semantic_summary(records, splits, LABELS))
    command = train_command(output, records, splits, LABELS)
    print(f"\nwritten to {output}; to train on it:\n  {command}")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with exit_on_user_error():
        prepare(args)


if __name__ == "__main__":
    main()
