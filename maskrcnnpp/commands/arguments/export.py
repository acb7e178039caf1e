"""Write a COCO data set in a layout of other programs: label images, a PNG an object, or a table.

    maskrcnnpp export --annotations datasets/dsb2018/annotations/instances_test.json \\
        --images datasets/dsb2018/images --output exported --format labels

The folder --output is new or empty. It appears whole or not at all. Exit status 2: it could not be
written; the reason is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument(
        "--annotations", required=True, type=Path, metavar="FILE", help="COCO file, with masks"
    )
    parser.add_argument(
        "--images", required=True, type=Path, metavar="DIR", help="folder of its images"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder, new or empty"
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=["labels", "pngs", "csv"],
        help="labels: TIFF label images, where the smaller of two objects has the pixels of both; "
        "pngs: a mask a file, as in DSB2018; csv: Kaggle's run lengths",
    )
    return parser.parse_args(argv)
