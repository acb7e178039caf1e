"""Report of a trained model: metrics, and a sheet of images with truth and prediction.

    maskrcnnpp report --run-dir OUTPUT_DIR --dataset NAME --output DIR

OUTPUT_DIR is that of a training which ended with an evaluation on NAME. Without --dataset that is
the data set of its DATASETS.TEST.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", required=True, type=Path, help="the training's OUTPUT_DIR")
    parser.add_argument(
        "--dataset",
        help="the evaluated data, as DATASETS.TEST names it: a registered name, or "
        "FILE.json[:FOLDER]; needed where DATASETS.TEST names several",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder for the report")
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        help="predictions from this score on are drawn, and are the objects of F1, PQ and so on",
    )
    parser.add_argument("--images", type=int, default=8, help="how many images the sheet shows")
    return parser.parse_args(argv)
