"""Show the cards of trained models: what each is for, its data, licence, metrics and limits.

maskrcnnpp models
maskrcnnpp predict images/ --output predicted --model nuclei
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="name, folder, zip archive or address; default: all that come with the package",
    )
    return parser.parse_args(argv)
