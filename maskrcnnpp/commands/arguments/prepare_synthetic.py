"""Draw pictures of fluorescent nuclei with exact masks, as a COCO data set. Needs no download."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

_IMAGES = {"train": 120, "val": 40, "test": 40}  # of each split


def _at_least(smallest: int) -> Callable[[str], int]:
    """An argparse type: an integer that is not below ``smallest``."""

    def integer(text: str) -> int:
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value} is less than {smallest}")
        return value

    return integer


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for images/ and annotations/; a former result there is replaced (default: "
        "$DETECTRON2_DATASETS/synthetic_nuclei, or datasets/synthetic_nuclei)",
    )
    for split, images in _IMAGES.items():
        parser.add_argument(
            f"--{split}",
            type=_at_least(1),
            metavar="N",
            default=images,
            help=f"number of {split} images (default: %(default)s)",
        )
    parser.add_argument(
        "--size",
        type=_at_least(1),
        nargs=2,
        metavar=("H", "W"),
        default=(256, 256),
        help="height and width of the images, pixels (default: 256 256)",
    )
    parser.add_argument(
        "--count",
        type=_at_least(0),
        nargs=2,
        metavar=("MIN", "MAX"),
        default=(10, 60),
        help="smallest and largest number of nuclei in an image (default: 10 60)",
    )
    parser.add_argument(
        "--seed",
        type=_at_least(0),
        default=0,
        metavar="N",
        help="the same seed draws the same images; those of a split do not depend on the others "
        "(default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.count[0] > args.count[1]:
        parser.error(f"--count: MIN {args.count[0]} is more than MAX {args.count[1]}")
    return args
