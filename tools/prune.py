#!/usr/bin/env python
"""Cut a trained Mask R-CNN++ or UNet++ to a smaller depth: a config and a checkpoint.

    python tools/prune.py --config-file OUTPUT_DIR/config.yaml \\
        --weights OUTPUT_DIR/model_final.pth --depth 2 --output-dir DIR
    python tools/train_net.py --config-file DIR/config.yaml --eval-only

With --table in the place of --depth it cuts to every depth, evaluates each and measures what it
costs: a table, a picture, and the depth to choose for --max-ap-drop or --max-latency.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, help="that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint of that training")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--depth", type=int, help="cut to this depth; 1 is the smallest")
    what.add_argument(
        "--table", action="store_true", help="measure every depth on the first of DATASETS.TEST"
    )
    parser.add_argument("--output-dir", required=True, type=Path)
    parser.add_argument(
        "--max-ap-drop",
        type=float,
        metavar="AP",
        help="points of AP, of IoU for a semantic model, that a cut may lose",
    )
    parser.add_argument(
        "--max-latency", type=float, metavar="MS", help="milliseconds that an image may take"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of the config")
    args = parser.parse_args(argv)
    if not args.table and (args.max_ap_drop is not None or args.max_latency is not None):
        parser.error("--max-ap-drop and --max-latency choose from the depths of --table")
    return args


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from detectron2.config import CfgNode  # noqa: E402
from detectron2.utils.logger import setup_logger  # noqa: E402

from maskrcnnpp.benchmark.depth_table import (  # noqa: E402
    TABLE_FILE,
    depth_table,
    measure_depths,
    recommendation,
    write_depths,
)
from maskrcnnpp.benchmark.runner import check_test_set  # noqa: E402
from maskrcnnpp.data.semantic import is_semantic  # noqa: E402
from maskrcnnpp.engine import build_config  # noqa: E402
from maskrcnnpp.engine.cut import WEIGHTS_FILE, cut_checkpoint  # noqa: E402
from maskrcnnpp.engine.setup import check_config  # noqa: E402
from maskrcnnpp.errors import ConfigError, exit_on_user_error  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with exit_on_user_error():
        cfg = build_config(args.config_file, args.opts)
        if args.table:
            table(cfg, args)
        else:
            cut(cfg, args)


def cut(cfg: CfgNode, args: argparse.Namespace) -> None:
    config_file = cut_checkpoint(cfg, args.weights, args.depth, args.output_dir)
    pruned = args.output_dir / WEIGHTS_FILE
    after, before = (Path(path).stat().st_size / 2**20 for path in (pruned, args.weights))
    print(f"{pruned}: {after:.1f} MiB, from {before:.1f} MiB")
    print(f"to evaluate it: python tools/train_net.py --config-file {config_file} --eval-only")


def table(cfg: CfgNode, args: argparse.Namespace) -> None:
    check_config(cfg, eval_only=True)
    if not is_semantic(cfg):
        check_test_set(cfg.DATASETS.TEST[0])
        if not cfg.MODEL.MASK_ON:
            raise ConfigError("MODEL.MASK_ON is False; the table is about masks")
    setup_logger()
    results = measure_depths(cfg, args.weights, args.output_dir)
    choice = recommendation(
        results["depths"],
        metric=results["metric"],
        max_ap_drop=args.max_ap_drop,
        max_latency=args.max_latency,
    )
    write_depths(args.output_dir, results, choice)
    print(depth_table(results))
    print("\n".join(filter(None, [choice, f"table: {args.output_dir / TABLE_FILE}"])))


if __name__ == "__main__":
    main()
