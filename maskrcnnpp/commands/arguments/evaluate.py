"""Compare label images with the truth: how many objects were found, and how well.

    maskrcnnpp evaluate predicted/ --truth my_set/labels --output evaluated.csv
    maskrcnnpp evaluate predicted/ --truth datasets/my_set/annotations/instances_val.json

predicted/ is the output of maskrcnnpp predict, or label images of another program. Images are told
by their names: a.png, a.png.labels.tif and a_masks.tif are of one. Classes are not compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predicted", type=Path, metavar="DIR", help="folder of label images")
    parser.add_argument(
        "--truth", required=True, type=Path, help="folder of label images, or COCO file"
    )
    parser.add_argument(
        "--common",
        action="store_true",
        help="pass over images that only one side has; without it an image of the truth without a "
        "prediction is an error",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="a row for each image")
    return parser.parse_args(argv)
