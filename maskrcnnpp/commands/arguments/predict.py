"""Find the objects of images with a trained model: files, folders and patterns in, files out.

    maskrcnnpp predict images/ --output predicted
    maskrcnnpp predict images/ --output predicted --config-file OUTPUT_DIR/config.yaml \\
        --weights OUTPUT_DIR/model_final.pth --format labels csv overlay

Large images are predicted in overlapping tiles. Images that are done are skipped, so the same
command resumes a run. Exit status 1: some images were skipped, and the reasons are printed; 2: the
run could not begin or was stopped by an error.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

_ALL = "all"  # planes


def parse_args(argv: Sequence[str], prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder or pattern")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    model = parser.add_argument_group("model", "a trained model by its name, or one of your own")
    model.add_argument(
        "--model",
        metavar="NAME",
        help="nuclei (the default), or another that `maskrcnnpp models` lists; or its folder, zip "
        "archive or address; or an exported file (.onnx)",
    )
    model.add_argument("--config-file", help="config.yaml of a training's OUTPUT_DIR")
    model.add_argument("--weights", help="checkpoint of that training, such as model_final.pth")
    model.add_argument(
        "--backend",
        default="auto",
        help="what runs the model: torch, onnx or openvino; default auto: torch for a training "
        "and on a GPU, and onnx for other models, which is faster on a CPU",
    )
    parser.add_argument(
        "--format",
        nargs="+",
        default=["labels", "csv", "overlay"],
        help="labels, csv, overlay (these three by default), geojson, rois, coco, ome-zarr; of "
        "semantic models also classes, probabilities",
    )
    # defaults are those of maskrcnnpp/inference/options.py, which takes seconds to import
    parser.add_argument(
        "--score", type=float, help="lowest that is kept; default 0.5, or what --model was tuned to"
    )
    parser.add_argument(
        "--nms", type=float, help="MODEL.ROI_HEADS.NMS_THRESH_TEST; default: the config's"
    )
    parser.add_argument(
        "--depth", type=int, help="of the grid, if trained for it; default: the config's"
    )
    parser.add_argument(
        "--mask-threshold", type=float, help="probability from which a pixel is object; default 0.5"
    )
    parser.add_argument(
        "--overlaps",
        choices=("resolve", "keep"),
        help="of a pixel that several objects claim: resolve (default) gives it to the highest "
        "score, and drops objects that lose more than half; keep leaves masks as they are",
    )
    parser.add_argument("--min-area", type=int, help="pixels of the smallest object; default 1")
    parser.add_argument(
        "--max-area", type=int, help="pixels of the largest object; default: no limit"
    )
    parser.add_argument("--tile-size", type=int, help="pixels a side; default 1024")
    parser.add_argument("--overlap", type=int, help="pixels that tiles share; default 128")
    parser.add_argument("--batch-size", type=int, help="tiles at a time; default 1")
    parser.add_argument(
        "--flips", action="store_true", help="also look at each tile mirrored: 8 times the time"
    )
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        metavar="FACTOR",
        help="sizes at which each tile is looked at, relative to the training, such as 1 2; 0.5 "
        "alone for images that have twice its magnification; default 1",
    )
    parser.add_argument(
        "--diameter",
        type=float,
        metavar="PIXELS",
        help="typical diameter of the objects in the images, which are resized so that objects "
        "are as large as a model by name knows them; default: estimated for each image",
    )
    parser.add_argument("--precision", help="float32 (default), float16 or bfloat16")
    parser.add_argument(
        "--channels", type=int, nargs="+", help="which to take, from 0; default: INPUT.CHANNELS"
    )
    parser.add_argument(
        "--level", type=int, help="of the pyramid of an OME-Zarr; default: the largest, 0"
    )
    parser.add_argument(
        "--scene", help="of a CZI, LIF or ND2 that holds several images: its name, or number from 0"
    )
    parser.add_argument(
        "--planes",
        nargs="+",
        type=_planes,
        metavar="PLANE",
        help="of z-stacks and time series: all, numbers from 0, or ranges such as 0-9; each plane "
        "is predicted alone, and labels become a stack",
    )
    parser.add_argument(
        "--stitch",
        type=float,
        metavar="IOU",
        help="give objects one number that overlap in neighbouring planes, by this intersection "
        "over union at least, such as 0.3; it is no 3-D model; default: each has its own number",
    )
    parser.add_argument(
        "--percentiles",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="that become black and white, such as 1 99.8; default: those of the training; needed "
        "if it had none (INPUT.PERCENTILES) and images are not 8-bit",
    )
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="COCO file whose ids of images, by file name, and categories the format coco takes",
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="K/N",
        help="the K-th of N shares of the images alone, K from 1: for N commands at the same time "
        "with one --output, such as an array job; the same command without --shard, once all are "
        "done, completes what is missing and writes the COCO file of all images",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="of this machine to share the images; on a CPU as many as it has cores are fastest, "
        "if their memory suffices; default 1",
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs to share the images")
    parser.add_argument(
        "--dask",
        metavar="SCHEDULER",
        help="share images, and the tiles of large ones, among the workers of a Dask cluster: the "
        "scheduler's address or file, or local:N for N processes on this machine",
    )
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="of the config")
    args = parser.parse_args(argv)
    if len(args.opts) % 2:
        parser.error(f"--opts: {args.opts[-1]} has no value; they are KEY VALUE pairs")
    if args.planes is not None:
        is_all = _ALL in args.planes
        args.planes = _ALL if is_all else sorted({k for part in args.planes for k in part})
    if args.dask and args.num_gpus != 1:
        parser.error("--num-gpus is of this machine: with --dask, start a worker for each GPU")
    if args.processes != 1 and (args.dask or args.num_gpus != 1):
        parser.error("--processes is of a CPU, and not for --dask or --num-gpus")
    if bool(args.config_file) != bool(args.weights):
        parser.error("--config-file and --weights go together")
    if args.config_file and args.model:
        parser.error(
            "--model has its own config and weights: leave out --config-file and --weights"
        )
    return args


def _planes(text: str) -> range | str:
    match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
    if text == _ALL:
        return text
    if not match or int(match[2] or match[1]) < int(match[1]):
        raise argparse.ArgumentTypeError(
            f"{text} is not {_ALL}, a number from 0 to 999999, or a range such as 0-9"
        )
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text} is not K/N with K from 1 to N, such as 3/16")
    return int(match[1]), int(match[2])
