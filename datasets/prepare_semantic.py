#!/usr/bin/env python
"""Turn images and their label images into a data set of semantic segmentation.

    python datasets/prepare_semantic.py --images Kvasir-SEG/images --labels Kvasir-SEG/masks \\
        --classes polyp=255 --threshold 128 --output datasets/kvasir
    python datasets/prepare_semantic.py --images volumes/ --labels segmentations/ \\
        --classes liver=1 tumor=2 --window 60 200 --only-labelled --output datasets/lits

--images and --labels are two folders, whose files have the same names but for the ending, or two
files: PNG, JPEG, BMP, TIFF (pictures or stacks) or NIfTI volumes (.nii, .nii.gz; these need
nibabel). Images of one volume, or of one of several stacks, stay in one split.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, type=Path, metavar="PATH")
    parser.add_argument("--labels", required=True, type=Path, metavar="PATH")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for images/, labels/ and annotations/; a former result there is replaced",
    )
    meaning = parser.add_argument_group("what raw values of labels mean").add_argument
    meaning("--classes", required=True, nargs="+", metavar="NAME=V[,V...]", help="label 1, 2, ...")
    meaning(
        "--background", nargs="+", type=int, metavar="V", help="default: 0 unless a class has it"
    )
    meaning("--ignore", nargs="+", type=int, metavar="V", default=(), help="do not count")
    meaning(
        "--threshold",
        type=int,
        metavar="V",
        help="of masks of one class with grey noise: from V on 255, below 0",
    )
    how = parser.add_argument_group("splits").add_argument
    how(
        "--fractions",
        nargs="+",
        metavar="SPLIT=PART",
        help="default: train=0.8 val=0.1 test=0.1",
    )
    how("--seed", type=int, help="of the drawing of splits (default: 0)")
    how("--splits", type=Path, metavar="DIR", help="train.txt, ...: one image or volume a line")
    volumes = parser.add_argument_group("values and slices").add_argument
    volumes(
        "--window",
        nargs=2,
        type=float,
        metavar=("LEVEL", "WIDTH"),
        help="values that become 0..255 (default: of NIfTI, the 0.5 and 99.5 %% percentiles)",
    )
    volumes(
        "--axis",
        type=int,
        default=2,
        help="across which NIfTI is cut: 0 left-right, 1 back-front, 2 foot-head (default)",
    )
    volumes("--only-labelled", action="store_true", help="leave out images without a class")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from tqdm import tqdm  # noqa: E402

from maskrcnnpp.convert.semantic.label_map import LabelMap  # noqa: E402
from maskrcnnpp.convert.semantic.source import Reading, read_source  # noqa: E402
from maskrcnnpp.convert.semantic.write import (  # noqa: E402
    FRACTIONS,
    convert_semantic,
    drawn_splits,
    listed_splits,
    semantic_summary,
    train_command,
)
from maskrcnnpp.errors import ConfigError, exit_on_user_error  # noqa: E402


def fractions_of(words: Sequence[str] | None) -> dict[str, float]:
    if words is None:
        return FRACTIONS
    shown = f"--fractions {' '.join(words)}"
    try:
        fractions = {split: float(part) for split, part in (w.split("=") for w in words)}
    except ValueError as error:
        raise ConfigError(f"{shown}: give such as train=0.8 val=0.2") from error
    if len(fractions) < len(words) or any(re.search(r"[^\w-]", split) for split in fractions):
        raise ConfigError(f"{shown}: names of splits are of letters, digits, - and _, each once")
    if not abs(sum(fractions.values()) - 1) < 1e-6 or min(fractions.values()) <= 0:
        raise ConfigError(f"{shown}: each is above 0, and together they are 1")
    return fractions


def prepare(args: argparse.Namespace) -> None:
    label_map = LabelMap.from_words(
        args.classes, background=args.background, ignored=args.ignore, threshold=args.threshold
    )
    reading = Reading(axis=args.axis, window=tuple(args.window) if args.window else None)
    if args.splits and (args.fractions or args.seed is not None):
        raise ConfigError("--splits names the splits; leave out --fractions and --seed")
    draw = partial(drawn_splits, fractions=fractions_of(args.fractions), seed=args.seed or 0)
    if args.splits:
        draw = partial(listed_splits, folder=args.splits)
    records, splits = convert_semantic(
        tqdm(read_source(args.images, args.labels, reading), desc="convert", unit="image"),
        args.output,
        label_map,
        draw,
        info={"description": f"converted from {args.images.name} and {args.labels.name}"},
        only_labelled=args.only_labelled,
    )
    print(semantic_summary(records, splits, label_map))
    unused = len(records) - sum(map(len, splits.values()))
    if unused:
        print(f"{unused} image{'s are' if unused > 1 else ' is'} in no split list: not used")
    print(f"\nwritten to {args.output}; to train on it:")
    print(f"  {train_command(args.output, records, splits, label_map)}")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with exit_on_user_error():
        prepare(args)


if __name__ == "__main__":
    main()
