"""The command ``maskrcnnpp prepare semantic``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
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
    train_command,
)
from maskrcnnpp.errors import ConfigError


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


def run(args: argparse.Namespace) -> None:
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
