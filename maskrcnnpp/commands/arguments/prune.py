"""Cut a trained Mask R-CNN++ or UNet++ to a smaller depth: a config and a checkpoint.

    maskrcnnpp prune --config-file OUTPUT_DIR/config.yaml \\
        --weights OUTPUT_DIR/model_final.pth --depth 2 --output-dir DIR
    maskrcnnpp train --config-file DIR/config.yaml --eval-only

With --table in the place of --depth it prunes to every depth, evaluates each and measures what it
costs: a table, a picture, and the depth to choose for --max-ap-drop or --max-latency.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, help="that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint of that training")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--depth", type=int, help="prune to this depth; 1 is the smallest")
    what.add_argument(
        "--table", action="store_true", help="measure every depth on the first of DATASETS.TEST"
    )
    parser.add_argument("--output-dir", required=True, type=Path)
    parser.add_argument(
        "--max-ap-drop",
        type=float,
        metavar="AP",
        help="points of AP, of IoU for a semantic model, that pruning may cost",
    )
    parser.add_argument(
        "--max-latency", type=float, metavar="MS", help="milliseconds that an image may take"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of the config")
    args = parser.parse_args(argv)
    if not args.table and (args.max_ap_drop is not None or args.max_latency is not None):
        parser.error("--max-ap-drop and --max-latency choose from the depths of --table")
    return args
