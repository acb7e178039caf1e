"""The command ``maskrcnnpp models``."""

from __future__ import annotations

import argparse

from maskrcnnpp.models import card_text, find_model, shipped


def run(args: argparse.Namespace) -> None:
    models = [find_model(name) for name in args.names or shipped()]
    print("\n\n".join(card_text(model) for model in models) or "no model comes with this package")
