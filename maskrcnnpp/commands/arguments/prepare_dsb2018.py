"""Convert the 2018 Data Science Bowl nuclei (Kaggle stage1_train, BBBC038) to COCO JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

URL = "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip"


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog="example: maskrcnnpp prepare dsb2018 --source stage1_train.zip",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="PATH",
        help="zip archive of stage1_train, read in place, or the folder it was unpacked into; "
        "with --download, where the archive is stored "
        "(default: stage1_train.zip in the folder of the data sets)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help=f"fetch {URL} first, unless it is there already",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for images/ and annotations/; a former result there is replaced "
        "(default: $DETECTRON2_DATASETS/dsb2018, or datasets/dsb2018)",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out what cannot be read, and list it in annotations/left_out.txt, "
        "rather than stop",
    )
    parser.add_argument(
        "--split-dir",
        type=Path,
        metavar="DIR",
        help="folder of train.txt, val.txt and test.txt, one image id a line "
        "(default: the lists of this project)",
    )
    parser.add_argument(
        "--make-splits",
        action="store_true",
        help="draw new lists, 50/20/30 %% within each image size and stain, into --split-dir",
    )
    parser.add_argument("--seed", type=int, help="of --make-splits (default: 0)")
    args = parser.parse_args(argv)
    if args.source is None and not args.download:
        parser.error("name the data with --source, or fetch it with --download")
    if args.make_splits and args.split_dir is None:
        parser.error("--make-splits needs --split-dir, the folder for the new lists")
    if args.seed is not None and not args.make_splits:
        parser.error("--seed is used with --make-splits only")
    return args
