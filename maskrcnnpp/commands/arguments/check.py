"""Find what is wrong with a COCO annotation file, and write a repaired copy of it.

In a semantic data set, whose images name label images, the label images are checked; they cannot
be repaired.

    maskrcnnpp check annotations/instances_train.json --images images/
    maskrcnnpp check instances.json --images images/ --fix repaired.json

Exit status 0: no error, perhaps warnings; 1: errors; 2: the file cannot be read. With --fix it is
that of the repaired copy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

KINDS_OF_FINDINGS = """what is looked for:
  structure  ids  sizes  boxes  areas  segmentations  pieces  duplicates  iscrowd  categories
  empty images  many objects  label images
the meaning of each kind that is found is printed
"""


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=KINDS_OF_FINDINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="COCO annotation file")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images, to compare their sizes"
    )
    parser.add_argument(
        "--fix", type=Path, metavar="OUT.json", help="write a repaired copy; FILE stays as it is"
    )
    parser.add_argument(
        "--max-dets",
        type=int,
        default=500,
        metavar="N",
        help="detections of an image that the evaluator counts (TEST.DETECTIONS_PER_IMAGE)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write all findings as JSON"
    )
    args = parser.parse_args(argv)
    if args.max_dets < 1:
        parser.error(f"argument --max-dets: {args.max_dets} is below 1")
    return args
