"""The command ``maskrcnnpp inspect``."""

from __future__ import annotations

import argparse
import shlex
import sys

from maskrcnnpp.check.inspection.numbers import inspect_dataset
from maskrcnnpp.check.inspection.page import HTML_FILE, SETTINGS_FILE, write_inspection
from maskrcnnpp.check.inspection.reading import CocoSet


def run(args: argparse.Namespace) -> None:
    data = CocoSet(args.annotations, args.images)
    numbers = inspect_dataset(data, seed=args.seed)
    write_inspection(args.output, numbers, data)
    if len(data.problems):
        print(data.problems.summary(), file=sys.stderr)
    print(f"{numbers['images']['number']} images, {numbers['objects']['number']} objects")
    print(f"page: {args.output / HTML_FILE}")
    settings = args.output / SETTINGS_FILE
    print(f"settings: {settings}")
    command = ["maskrcnnpp", "train", "--config-file", str(settings)]
    print(f"to train with them: {shlex.join(command)}")
