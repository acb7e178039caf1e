"""The command ``maskrcnnpp convert``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from maskrcnnpp.commands.arguments.convert import NUMBERS, OPTIONS, SWITCHES
from maskrcnnpp.convert.coco_dataset import ImageRecord
from maskrcnnpp.convert.convert import (
    convert,
    groups_by_pattern,
    groups_of_file,
    open_reader,
    strata_of,
)
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.splits import (
    draw_folds,
    draw_splits,
    draw_splits_of_groups,
    fractions_of,
    read_splits,
    write_splits,
)
from maskrcnnpp.convert.summary import next_step, summary_table
from maskrcnnpp.errors import ConfigError, DataError

ALL = "all"


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


def run(args: argparse.Namespace) -> None:
    check_splits(args)
    given = {name: getattr(args, name) for name in (*OPTIONS, *NUMBERS, *SWITCHES)}
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
    step = next_step(args.output, records, splits, len(reader.categories))
    print(f"\nwritten to {args.output}; {step}")
