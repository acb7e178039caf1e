"""The command ``maskrcnnpp prepare semantic``."""

from __future__ import annotations

import argparse
from functools import partial

from tqdm import tqdm

from maskrcnnpp.convert.semantic.label_map import LabelMap
from maskrcnnpp.convert.semantic.source import Reading, read_source
from maskrcnnpp.convert.semantic.write import (
    FRACTIONS,
    convert_semantic,
    drawn_splits,
    listed_splits,
    semantic_summary,
    semantic_train_command,
)
from maskrcnnpp.convert.splits import fractions_of
from maskrcnnpp.errors import ConfigError


def run(args: argparse.Namespace) -> None:
    label_map = LabelMap.from_words(
        args.classes, background=args.background, ignored=args.ignore, threshold=args.threshold
    )
    reading = Reading(axis=args.axis, window=tuple(args.window) if args.window else None)
    if args.splits and (args.fractions or args.seed is not None):
        raise ConfigError("--splits names the splits; leave out --fractions and --seed")
    fractions = fractions_of(args.fractions) if args.fractions else FRACTIONS
    draw = partial(drawn_splits, fractions=fractions, seed=args.seed or 0)
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
    print(f"  {semantic_train_command(args.output, records, splits, label_map)}")
