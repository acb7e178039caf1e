"""The command ``maskrcnnpp prune``."""

from __future__ import annotations

import argparse
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils.logger import setup_logger

from maskrcnnpp.benchmark.depth_table import (
    TABLE_FILE,
    depth_table,
    measure_depths,
    recommendation,
    write_depths,
)
from maskrcnnpp.benchmark.runner import check_test_set
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.engine import build_config
from maskrcnnpp.engine.prune import WEIGHTS_FILE, prune_checkpoint
from maskrcnnpp.engine.setup import check_config
from maskrcnnpp.errors import ConfigError


def run(args: argparse.Namespace) -> None:
    cfg = build_config(args.config_file, args.opts)
    if args.table:
        table(cfg, args)
    else:
        prune(cfg, args)


def prune(cfg: CfgNode, args: argparse.Namespace) -> None:
    config_file = prune_checkpoint(cfg, args.weights, args.depth, args.output_dir)
    pruned = args.output_dir / WEIGHTS_FILE
    after, before = (Path(path).stat().st_size / 2**20 for path in (pruned, args.weights))
    print(f"{pruned}: {after:.1f} MiB, from {before:.1f} MiB")
    print(f"to evaluate it: maskrcnnpp train --config-file {config_file} --eval-only")


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
