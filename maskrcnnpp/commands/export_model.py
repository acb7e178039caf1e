"""The command ``maskrcnnpp export-model``."""

from __future__ import annotations

import argparse

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.exporting import export_model


def run(args: argparse.Namespace) -> None:
    cfg = build_config(args.config_file, args.opts)
    path = export_model(cfg, args.weights, args.output, args.format, depth=args.depth)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
