#!/usr/bin/env python
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


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
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


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

from tqdm import tqdm  # noqa: E402

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter  # noqa: E402
from maskrcnnpp.convert.summary import next_step, summary_table  # noqa: E402
from maskrcnnpp.convert.synthetic import synthetic_samples  # noqa: E402
from maskrcnnpp.data.catalog import SPLITS, datasets_root  # noqa: E402
from maskrcnnpp.errors import exit_on_user_error  # noqa: E402


def draw(args: argparse.Namespace) -> None:
    height, width = args.size
    info = {
        "description": f"synthetic fluorescent nuclei of maskrcnnpp, seed {args.seed}",
        "license": "CC0",
    }
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    total = args.train + args.val + args.test
    with (
        CocoDatasetWriter(args.output, info=info) as writer,
        tqdm(total=total, desc="draw", unit="image") as bar,
    ):
        for split, names in splits.items():
            for sample in synthetic_samples(
                getattr(args, split),
                height=height,
                width=width,
                count=tuple(args.count),
                seed=args.seed,
                prefix=split,
            ):
                writer.add(sample)
                names.append(sample.name)
                bar.update()
        writer.commit(splits)

    print(summary_table(writer.records, splits))
    print(f"\nwritten to {args.output}\n{next_step(args.output, 'synthetic_nuclei')}")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    args.output = args.output or datasets_root() / "synthetic_nuclei"
    with exit_on_user_error():
        draw(args)


if __name__ == "__main__":
    main()
