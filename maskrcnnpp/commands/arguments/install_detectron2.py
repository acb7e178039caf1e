"""Install Detectron2 where there is none.

An installed Detectron2, of whatever version, is kept. Otherwise a wheel whose hash is pinned is put
into this Python's site-packages.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    return argparse.ArgumentParser(prog=prog, description=__doc__).parse_args(argv)
