"""Write a trained model as a file that runs without Detectron2: ONNX, TorchScript or OpenVINO.

    maskrcnnpp export-model --config-file OUTPUT_DIR/config.yaml \\
        --weights OUTPUT_DIR/model_final.pth --output model.onnx

See docs/how-to/export.md for what goes in and what comes out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, help="that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint of that training")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help="or a folder, for model.onnx, model.ts or model.xml in it",
    )
    parser.add_argument("--format", default="onnx", help="onnx (default), torchscript or openvino")
    parser.add_argument(
        "--depth", type=int, help="to prune the grid to, if trained for it; default: the config's"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of the config")
    return parser.parse_args(argv)
