"""Make a model of a training: config, weights in half precision, and its card, in one folder.

With them goes the same as an ONNX file, which runs without PyTorch.

    maskrcnnpp models pack --config-file OUTPUT_DIR/config.yaml \\
        --weights OUTPUT_DIR/model_final.pth --card card.yaml --output my_cells
    maskrcnnpp predict images/ --output predicted --model my_cells

card.yaml has the entries name, version, purpose, data, licence, metrics and limits; also, as far as
they are wanted, classes (names), diameter (median of the objects of the training, in pixels, to
which images are resized) and options (score_threshold, mask_threshold, ... of a prediction).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint of that training")
    parser.add_argument("--card", required=True, type=Path, metavar="FILE.yaml")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--no-onnx",
        action="store_true",
        help="without the ONNX file, for a model that cannot be exported",
    )
    return parser.parse_args(argv)
