"""The command ``maskrcnnpp models pack``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.exporting.pack import pack_model
from maskrcnnpp.models import WEIGHTS_FILE


def run(args: argparse.Namespace) -> None:
    pack_model(build_config(args.config_file), args.weights, read_card(args.card), args.output)
    size = (args.output / WEIGHTS_FILE).stat().st_size / 2**20
    print(f"{args.output}: {size:.1f} MiB of weights")
    print(f"to use it: maskrcnnpp predict IMAGES --output DIR --model {args.output}")


def read_card(path: Path) -> dict[str, Any]:
    try:
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(card, dict):
        raise ConfigError(f"{path} is not a card: it holds no entries such as name and purpose")
    return card
