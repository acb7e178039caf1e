"""Turn the ISBI 2012 EM challenge (membranes of neurons, 30 images) into a semantic data set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
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
