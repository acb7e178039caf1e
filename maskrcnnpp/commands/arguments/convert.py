"""Convert a data set of nuclei or cells to COCO JSON, with checks.

    maskrcnnpp convert --format auto --input my_set/ --output datasets/my_set \\
        --fractions train=0.7 val=0.15 test=0.15
    maskrcnnpp train --config-file FILE \\
        DATASETS.TRAIN "('datasets/my_set/annotations/instances_train.json',)"

All problems of a source are reported at once and nothing is written. With --skip-bad, bad images
and objects are skipped and listed. Splits are balanced by image size and stain.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

# of readers; each takes those that its constructor names
OPTIONS = ("annotations", "images", "table", "label_ending", "pairs", "class_names", "truth")
NUMBERS = ("connectivity", "min_distance", "min_area")
SWITCHES = ("watershed", "nuclei")


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__.splitlines()[0],
        epilog="formats and their files: datasets/README.md",
    )
    parser.add_argument(
        "--format",
        default="auto",
        help="auto (the default), binary, coco, ctc, dsb2018, dsb2018_csv, geojson, hovernet, "
        "imagej, labelme, labels, monuseg or pannuke",
    )
    parser.add_argument("--input", required=True, metavar="PATH", help="folder or zip archive")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--skip-bad", action="store_true", help="skip what is bad, and list it")
    parser.add_argument("--description", default="", help="for the info of the JSON files")
    how = parser.add_argument_group("splits; without, one file instances_all.json").add_argument
    how("--fractions", nargs="+", metavar="SPLIT=PART", help="such as train=0.7 val=0.3")
    how("--folds", type=int, metavar="K", help="cross-validation: fold0_train, fold0_val, ...")
    how("--split-lists", type=Path, metavar="DIR", help="train.txt, ...: one image name a line")
    how("--group-by", metavar="REGEX", help="of a name, what tells its group, never divided")
    how("--groups", type=Path, metavar="FILE", help="CSV of name,group")
    how("--write-lists", type=Path, metavar="DIR", help="write what was drawn as lists")
    how("--seed", type=int, default=0)
    options = parser.add_argument_group("of some formats: see datasets/README.md").add_argument
    for name in OPTIONS:
        many = {"nargs": "+"} if name == "class_names" else {}
        options(f"--{name.replace('_', '-')}", **many)
    for name in NUMBERS:
        options(f"--{name.replace('_', '-')}", type=int)
    for name in SWITCHES:
        options(f"--{name.replace('_', '-')}", action="store_true", default=None)
    return parser.parse_args(argv)
