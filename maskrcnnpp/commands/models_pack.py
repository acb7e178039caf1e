"""The command ``maskrcnnpp models pack``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.exporting.pack import pack_model
from maskrcnnpp.models import EXPORTED_FILE, WEIGHTS_FILE


def run(args: argparse.Namespace) -> None:
    pack_model(
        build_config(args.config_file),
        args.weights,
        read_card(args.card),
        args.output,
        is_exported=not args.no_onnx,
    )
    for name in (WEIGHTS_FILE, *([] if args.no_onnx else [EXPORTED_FILE])):
        print(f"{args.output / name}: {(args.output / name).stat().st_size / 2**20:.1f} MiB")
    print(f"to use it: maskrcnnpp predict IMAGES --output DIR --model {args.output}")


def read_card(path: Path) -> dict[str, Any]:
    try:
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(card, dict):
        raise ConfigError(f"{path} is not a card: it holds no entries such as name and purpose")
    return card
