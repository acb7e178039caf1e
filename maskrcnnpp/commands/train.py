"""The command ``maskrcnnpp train``."""

from __future__ import annotations

import argparse

from maskrcnnpp.engine.main import main


def run(args: argparse.Namespace) -> None:
    main(args)
