"""One page of what is in a COCO data set, and settings that fit it.

    maskrcnnpp inspect --annotations FILE --images DIR --output DIR

Look at report.html before a training. Faulty images and objects are reported and not
counted; the data set is not changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", required=True, type=Path, help="COCO file (JSON)")
    parser.add_argument("--images", required=True, type=Path, help="folder of its images")
    parser.add_argument("--output", required=True, type=Path, help="folder for the page")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error("--seed must be 0 or more")
    return args
