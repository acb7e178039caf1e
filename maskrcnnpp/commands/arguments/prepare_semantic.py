"""Turn images and their label images into a data set of semantic segmentation.

    maskrcnnpp prepare semantic --images Kvasir-SEG/images --labels Kvasir-SEG/masks \\
        --classes polyp=255 --threshold 128 --output datasets/kvasir
    maskrcnnpp prepare semantic --images volumes/ --labels segmentations/ \\
        --classes liver=1 tumor=2 --window 60 200 --only-labelled --output datasets/lits

--images and --labels are two folders, whose files have the same names but for the ending, or two
files: PNG, JPEG, BMP, TIFF (pictures or stacks) or NIfTI volumes (.nii, .nii.gz; these need
nibabel). Images of one volume, or of one of several stacks, stay in one split.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, type=Path, metavar="PATH")
    parser.add_argument("--labels", required=True, type=Path, metavar="PATH")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for images/, labels/ and annotations/; a former result there is replaced",
    )
    meaning = parser.add_argument_group("what raw values of labels mean").add_argument
    meaning("--classes", required=True, nargs="+", metavar="NAME=V[,V...]", help="label 1, 2, ...")
    meaning(
        "--background", nargs="+", type=int, metavar="V", help="default: 0 unless a class has it"
    )
    meaning("--ignore", nargs="+", type=int, metavar="V", default=(), help="do not count")
    meaning(
        "--threshold",
        type=int,
        metavar="V",
        help="of masks of one class with grey noise: from V on 255, below 0",
    )
    how = parser.add_argument_group("splits").add_argument
    how(
        "--fractions",
        nargs="+",
        metavar="SPLIT=PART",
        help="default: train=0.8 val=0.1 test=0.1",
    )
    how("--seed", type=int, help="of the drawing of splits (default: 0)")
    how("--splits", type=Path, metavar="DIR", help="train.txt, ...: one image or volume a line")
    volumes = parser.add_argument_group("values and slices").add_argument
    volumes(
        "--window",
        nargs=2,
        type=float,
        metavar=("LEVEL", "WIDTH"),
        help="values that become 0..255 (default: of NIfTI, the 0.5 and 99.5 %% percentiles)",
    )
    volumes(
        "--axis",
        type=int,
        default=2,
        help="across which NIfTI is cut: 0 left-right, 1 back-front, 2 foot-head (default)",
    )
    volumes("--only-labelled", action="store_true", help="skip images without a class")
    return parser.parse_args(argv)
