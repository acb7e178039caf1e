"""One HTML page to look through what `maskrcnnpp predict` found.

    maskrcnnpp predict images/ --output predicted
    maskrcnnpp view predicted

The page is one file without links to others: it opens in any browser, also where the images are
not. It needs the format csv, for the table, and one of labels, geojson and coco, for the outlines.
Exit status 1: some images were left out, and the reasons are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="--output of predict")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the page; default RUN_DIR/view.html"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="where the images are now, if not where they were predicted",
    )
    parser.add_argument("--max-images", type=int, default=100, help="in the page; default 100")
    parser.add_argument(
        "--max-objects",
        type=int,
        default=5000,
        help="of an image, those of the highest scores; default 5000",
    )
    parser.add_argument(
        "--size", type=int, default=1024, help="pixels of an image's longer side; default 1024"
    )
    args = parser.parse_args(argv)
    for name in ("max_images", "max_objects", "size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return args
