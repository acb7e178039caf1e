"""The command ``maskrcnnpp export``."""

from __future__ import annotations

import argparse

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.convert.export import EXPORTS


def run(args: argparse.Namespace) -> None:
    truth = load_coco_truth(args.annotations)
    counts = EXPORTS[args.format](truth, args.images, args.output)
    print(f"{counts.lines()}\nwritten to {args.output}")
