#!/usr/bin/env python
"""Find the objects of images with a trained model: files, folders and patterns in, files out.

    python tools/predict.py --config-file OUTPUT_DIR/config.yaml \\
        --weights OUTPUT_DIR/model_final.pth images/ --output predicted --format labels csv overlay

Large images are predicted in overlapping tiles. Images that are done are skipped: the same command
goes on where it stopped. Exit status 1: some images were left out; 2: it could not begin or go on.
Both are told.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

# beside torch and NumPy, what pixels come from
_READERS = (
    "pillow",
    "tifffile",
    "imagecodecs",
    "openslide-python",
    "opencv-python-headless",
    "opencv-python",
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder or pattern")
    parser.add_argument("--config-file", required=True, help="that the model was trained with")
    parser.add_argument("--weights", required=True, help="checkpoint of that training")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--format",
        nargs="+",
        default=["labels", "csv", "overlay"],
        help="labels, csv, overlay (these three by default), geojson, rois, coco; of semantic "
        "models also classes, probabilities",
    )
    # defaults are those of maskrcnnpp/inference/options.py, which takes seconds to import
    parser.add_argument("--score", type=float, help="lowest that is kept; default 0.5")
    parser.add_argument(
        "--nms", type=float, help="MODEL.ROI_HEADS.NMS_THRESH_TEST; default: the config's"
    )
    parser.add_argument(
        "--depth", type=int, help="of the grid, if trained for it; default: the config's"
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
    parser.add_argument("--precision", help="float32 (default), float16 or bfloat16")
    parser.add_argument(
        "--channels", type=int, nargs="+", help="which to take, from 0; default: INPUT.CHANNELS"
    )
    parser.add_argument(
        "--percentiles",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="that become black and white, such as 1 99.8; needed unless images are 8-bit; "
        "default: INPUT.PERCENTILES",
    )
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="COCO file whose ids of images, by file name, and categories the format coco takes",
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs to share the images")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="of the config")
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse_args()  # --help and mistakes end here, before what takes seconds to import

import torch  # noqa: E402
from detectron2.engine import launch  # noqa: E402
from detectron2.utils import comm  # noqa: E402
from torch.multiprocessing import ProcessExitedException  # noqa: E402

from maskrcnnpp.config_reader import build_config  # noqa: E402
from maskrcnnpp.data.semantic import is_semantic  # noqa: E402
from maskrcnnpp.environment import machine, versions  # noqa: E402
from maskrcnnpp.errors import ConfigError, exit_on_user_error  # noqa: E402
from maskrcnnpp.images import find_images  # noqa: E402
from maskrcnnpp.inference.naming import Naming, find_naming  # noqa: E402
from maskrcnnpp.inference.options import Options  # noqa: E402
from maskrcnnpp.inference.record import RECORD_FILE, config_settings, digest, start_record  # noqa: E402
from maskrcnnpp.inference.run import Job, collect_coco, predict_files, writing_to  # noqa: E402
from maskrcnnpp.inference.semantic_predictor import load_predictor  # noqa: E402
from maskrcnnpp.lock import locked  # noqa: E402
from maskrcnnpp.modeling.pruning import depth_key  # noqa: E402


def options(args: argparse.Namespace) -> Options:
    given = {
        "score_threshold": args.score,
        "min_area": args.min_area,
        "max_area": args.max_area,
        "tile_size": args.tile_size,
        "overlap": args.overlap,
        "batch_size": args.batch_size,
        "percentiles": tuple(args.percentiles) if args.percentiles else None,
        "flips": args.flips,
        "scales": tuple(args.scales) if args.scales else None,
        "precision": args.precision,
    }
    return Options(**{name: value for name, value in given.items() if value is not None})


def overrides(args: argparse.Namespace) -> list[str]:
    """KEY VALUE pairs that the options stand for."""
    words = list(args.opts)
    if args.nms is not None:
        words += ["MODEL.ROI_HEADS.NMS_THRESH_TEST", str(args.nms)]
    if args.depth is not None:
        words += [depth_key(build_config(args.config_file, words)), str(args.depth)]
    return words


def work(args: argparse.Namespace, job: Job, files: Sequence[Path], naming: Naming) -> None:
    """What each process does with its share of the files."""
    share = files[comm.get_rank() :: comm.get_world_size()]
    with exit_on_user_error() if comm.get_world_size() > 1 else nullcontext():
        predictor = load_predictor(
            args.config_file, args.weights, opts=overrides(args), **asdict(options(args))
        )
        predict_files(predictor, job, share, naming, quiet=not comm.is_main_process())


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    there = torch.cuda.device_count()
    if args.num_gpus > max(there, 1):
        raise ConfigError(f"--num-gpus is {args.num_gpus}; this machine has {there}")
    files = find_images(args.inputs)
    cfg = build_config(args.config_file, overrides(args))
    # as in training, unless told otherwise
    args.channels = args.channels or list(cfg.INPUT.CHANNELS) or None
    args.percentiles = args.percentiles or list(cfg.INPUT.PERCENTILES) or None
    job = Job(files, args.output, args.format, args.channels)
    job.check(is_semantic=is_semantic(cfg))
    if not Path(args.weights).is_file():
        raise ConfigError(f"--weights {args.weights}: there is no such file")
    naming = find_naming(cfg, args.annotations)
    settings = {
        "config": config_settings(cfg),
        "weights": digest(args.weights),
        "channels": args.channels,
        "annotations": args.annotations and digest(args.annotations),
        **asdict(options(args)),
    }
    batch_size = settings.pop("batch_size")  # decides the time and memory only
    command = shlex.join(["python", "tools/predict.py", *(sys.argv[1:] if argv is None else argv)])
    about = {"command": command, "batch_size": batch_size}
    about |= {"machine": machine(), "versions": versions(*_READERS)}
    with locked(args.output):
        return run(args, job, naming, settings, about)


def run(
    args: argparse.Namespace,
    job: Job,
    naming: Naming,
    settings: dict[str, Any],
    about: dict[str, Any],
) -> int:
    """Predict what is not done yet; the exit status.

    Args:
        settings, about: for the record of the run.
    """
    with writing_to(args.output):
        start_record(args.output, settings, about, is_fresh=job.is_fresh())
        job.remove_partial()
    files = [file for file in job.files if not job.is_done(file)]
    if done := len(job.files) - len(files):
        print(f"{done} of {len(job.files)} images are done and skipped")
    if files:
        try:
            launch(work, args.num_gpus, dist_url="auto", args=(args, job, files, naming))
        except ProcessExitedException:
            return 2  # the process has said why
    collect_coco(job)
    left_out = [file for file in job.files if not job.is_done(file)]
    print(f"{len(job.files) - len(left_out)} of {len(job.files)} images: {args.output}")
    print(f"settings: {args.output / RECORD_FILE}")
    return 1 if left_out else 0


if __name__ == "__main__":
    with exit_on_user_error():
        try:
            sys.exit(main())
        except KeyboardInterrupt:
            print("stopped; the same command goes on here", file=sys.stderr)
            sys.exit(130)
