#!/usr/bin/env python
"""One page of what is in a COCO data set, and settings that fit it.

    python tools/inspect_data.py --annotations FILE --images DIR --output DIR

Look at report.html before a training. What is wrong with an image or object is told, and it is left
out of the numbers; nothing of the data set is changed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", required=True, type=Path, help="COCO file (JSON)")
    parser.add_argument("--images", required=True, type=Path, help="folder of its images")
    parser.add_argument("--output", required=True, type=Path, help="folder for the page")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error("--seed must be 0 or more")
    return args


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from maskrcnnpp.check.inspection.numbers import inspect_dataset  # noqa: E402
from maskrcnnpp.check.inspection.page import HTML_FILE, SETTINGS_FILE, write_inspection  # noqa: E402
from maskrcnnpp.check.inspection.reading import CocoSet  # noqa: E402
from maskrcnnpp.errors import exit_on_user_error  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with exit_on_user_error():
        data = CocoSet(args.annotations, args.images)
        numbers = inspect_dataset(data, seed=args.seed)
        write_inspection(args.output, numbers, data)
        if len(data.problems):
            print(data.problems.summary(), file=sys.stderr)
        print(f"{numbers['images']['number']} images, {numbers['objects']['number']} objects")
        print(f"page: {args.output / HTML_FILE}")
        print(f"settings: {args.output / SETTINGS_FILE}")


if __name__ == "__main__":
    main()
