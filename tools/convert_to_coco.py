#!/usr/bin/env python
"""Convert a data set of nuclei or cells to COCO JSON, with checks.

    python tools/convert_to_coco.py --format auto --input my_set/ --output datasets/my_set \\
        --fractions train=0.7 val=0.15 test=0.15
    python tools/train_net.py --config-file FILE \\
        DATASETS.TRAIN "('datasets/my_set/annotations/instances_train.json',)"

All problems of a source are told at once and nothing is written, or, with --skip-bad, what is bad
is left out and listed. Splits are balanced by image size and stain.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

ALL = "all"
# of readers; each takes those that its constructor names
_OPTIONS = ("annotations", "images", "table", "label_ending", "pairs", "class_names", "truth")
_NUMBERS = ("connectivity", "min_distance", "min_area")
_SWITCHES = ("watershed", "nuclei")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
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
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out what is bad, and list it"
    )
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
    for name in _OPTIONS:
        many = {"nargs": "+"} if name == "class_names" else {}
        options(f"--{name.replace('_', '-')}", **many)
    for name in _NUMBERS:
        options(f"--{name.replace('_', '-')}", type=int)
    for name in _SWITCHES:
        options(f"--{name.replace('_', '-')}", action="store_true", default=None)
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from maskrcnnpp.convert.coco_dataset import ImageRecord  # noqa: E402
from maskrcnnpp.convert.convert import (  # noqa: E402
    convert,
    groups_by_pattern,
    groups_of_file,
    open_reader,
    strata_of,
)
from maskrcnnpp.convert.problems import ProblemLog  # noqa: E402
from maskrcnnpp.convert.splits import (  # noqa: E402
    draw_folds,
    draw_splits,
    draw_splits_of_groups,
    read_splits,
    write_splits,
)
from maskrcnnpp.convert.summary import summary_table  # noqa: E402
from maskrcnnpp.errors import ConfigError, DataError, exit_on_user_error  # noqa: E402


def fractions_of(words: Sequence[str]) -> dict[str, float]:
    try:
        fractions = {split: float(part) for split, part in (w.split("=") for w in words)}
    except ValueError as error:
        raise ConfigError(
            f"--fractions {' '.join(words)}: give such as train=0.7 val=0.3"
        ) from error
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) <= 0:
        raise ConfigError(
            f"--fractions {' '.join(words)}: each is above 0, and together they are 1"
        )
    return fractions


def draw(
    args: argparse.Namespace, records: Mapping[str, ImageRecord]
) -> Mapping[str, Sequence[str]]:
    """The splits that the arguments ask for."""
    names, strata = sorted(records), strata_of(records)
    groups = None
    if args.group_by or args.groups:
        groups = (
            groups_by_pattern(names, args.group_by)
            if args.group_by
            else groups_of_file(names, args.groups)
        )
    if args.split_lists:
        lists = sorted(path.stem for path in args.split_lists.glob("*.txt"))
        splits = read_splits(args.split_lists, lists)
        lacking = [name for listed in splits.values() for name in listed if name not in records]
        if lacking and not args.skip_bad:
            raise DataError(
                f"{args.split_lists}: {len(lacking)} names are not in the source, such as "
                f"{lacking[0]}; --skip-bad goes on without them"
            )
        return {split: [n for n in listed if n in records] for split, listed in splits.items()}
    if args.folds:
        return draw_folds(strata, args.folds, groups=groups, seed=args.seed)
    if args.fractions:
        how = {"fractions": fractions_of(args.fractions), "seed": args.seed}
        if groups is not None:
            return draw_splits_of_groups(strata, groups, **how)
        return draw_splits(strata, **how)
    return {ALL: names}


def check_splits(args: argparse.Namespace) -> None:
    ways = [k for k in ("fractions", "folds", "split_lists") if getattr(args, k) is not None]
    if len(ways) > 1:
        raise ConfigError(f"--{ways[0]} and --{ways[1]}: choose one way to split")
    grouped = [k for k in ("group_by", "groups") if getattr(args, k) is not None]
    if len(grouped) > 1 or (grouped and ways not in (["fractions"], ["folds"])):
        raise ConfigError("--group-by or --groups, one of them, goes with --fractions or --folds")
    if args.folds is not None and args.folds < 2:
        raise ConfigError(f"--folds {args.folds}: at least 2")
    if args.fractions:
        fractions_of(args.fractions)
    if args.write_lists and ways != ["fractions"]:
        raise ConfigError("--write-lists goes with --fractions")
    if args.split_lists and not any(args.split_lists.glob("*.txt")):
        raise DataError(f"--split-lists {args.split_lists}: there is no list (*.txt) in it")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    check_splits(args)
    given = {name: getattr(args, name) for name in (*_OPTIONS, *_NUMBERS, *_SWITCHES)}
    options = {name: value for name, value in given.items() if value is not None}
    problems = ProblemLog(args.skip_bad)
    reader = open_reader(args.format, args.input, problems, options)
    info = {"description": args.description or f"converted from {Path(args.input).name}"}
    records, splits = convert(reader, args.output, partial(draw, args), info=info)
    if args.write_lists:
        write_splits(args.write_lists, splits)
    print(summary_table(records, splits))
    folder = args.output / "annotations"
    if problems or problems.notes:
        print(f"{problems.summary()}\nthe whole lists: {folder}/*.txt")
    first = folder / f"instances_{next(iter(splits))}.json"
    print(f"\nwritten to {args.output}; to train on it: DATASETS.TRAIN \"('{first}',)\"")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
