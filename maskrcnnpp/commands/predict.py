"""The command ``maskrcnnpp predict``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.errors import ConfigError, exit_on_user_error
from maskrcnnpp.images import find_images
from maskrcnnpp.inference.naming import Naming, find_naming
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.record import (
    add_scales,
    check_alone,
    config_settings,
    digest,
    lock_file,
    record_file,
    start_record,
)
from maskrcnnpp.inference.run import Job, collect_coco, predict_files, writing_to
from maskrcnnpp.inference.semantic_predictor import load_predictor
from maskrcnnpp.lock import locked
from maskrcnnpp.modeling.pruning import depth_key
from maskrcnnpp.models import DEFAULT, find_model

# beside torch and NumPy, what pixels come from
_READERS = (
    "pillow",
    "tifffile",
    "imagecodecs",
    "openslide-python",
    "opencv-python-headless",
    "opencv-python",
)


def options(args: argparse.Namespace) -> Options:
    given = {
        "score_threshold": args.score,
        "mask_threshold": args.mask_threshold,
        "overlaps": args.overlaps,
        "min_area": args.min_area,
        "max_area": args.max_area,
        "tile_size": args.tile_size,
        "overlap": args.overlap,
        "batch_size": args.batch_size,
        "percentiles": tuple(args.percentiles) if args.percentiles else None,
        "flips": args.flips,
        "scales": tuple(args.scales) if args.scales else None,
        "diameter": args.diameter,
        "precision": args.precision,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return Options(**{**args.tuned, **given})


def overrides(args: argparse.Namespace) -> list[str]:
    """KEY VALUE pairs that the options stand for."""
    words = list(args.opts)
    if args.nms is not None:
        words += ["MODEL.ROI_HEADS.NMS_THRESH_TEST", str(args.nms)]
    if args.depth is not None:
        words += [depth_key(build_config(args.config_file, words)), str(args.depth)]
    return words


def model_of(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :func:`load_predictor`."""
    return {
        "config_file": args.config_file,
        "weights": args.weights,
        "opts": overrides(args),
        "trained_diameter": args.trained_diameter,
        **asdict(options(args)),
    }


def work(args: argparse.Namespace, job: Job, files: Sequence[Path], naming: Naming) -> None:
    """What each process does with its share of the files."""
    share = files[comm.get_rank() :: comm.get_world_size()]
    with exit_on_user_error() if comm.get_world_size() > 1 else nullcontext():
        predictor = load_predictor(**model_of(args))
        predict_files(predictor, job, share, naming, quiet=not comm.is_main_process())


def run(args: argparse.Namespace) -> int:
    there = torch.cuda.device_count()
    if args.num_gpus > max(there, 1):
        raise ConfigError(f"--num-gpus is {args.num_gpus}; this machine has {there}")
    if args.dask:
        from maskrcnnpp.inference.distributed import check_scheduler

        check_scheduler(args.dask)
    files = find_images(args.inputs)
    model = None if args.config_file else find_model(args.model or DEFAULT)
    if model:
        args.config_file, args.weights = str(model.config_file), str(model.weights_file)
    args.tuned = model.options if model else {}
    args.trained_diameter = model.card.get("diameter") if model else None
    cfg = build_config(args.config_file, overrides(args))
    # as in training, unless told otherwise
    args.channels = args.channels or list(cfg.INPUT.CHANNELS) or None
    args.percentiles = args.percentiles or list(cfg.INPUT.PERCENTILES) or None
    job = Job(files, args.output, args.format, args.channels)
    job.check(is_semantic=is_semantic(cfg))
    if not Path(args.weights).is_file():
        raise ConfigError(f"--weights {args.weights}: there is no such file")
    naming = find_naming(cfg, args.annotations, model.card.get("classes") if model else None)
    settings = {
        "config": config_settings(cfg),
        "weights": digest(args.weights),
        "channels": args.channels,
        "annotations": args.annotations and digest(args.annotations),
        **asdict(options(args)),
    }
    batch_size = settings.pop("batch_size")  # decides the time and memory only
    about = {"command": args.command, "batch_size": batch_size}
    if model:
        about["model"] = model.title
    about |= {"machine": machine(), "versions": versions(*_READERS)}
    if args.shard:  # by name, which tells images apart: the same in every shard
        share, count = args.shard
        in_order = sorted(files, key=lambda file: file.name)
        job = replace(job, files=in_order[share - 1 :: count])
    record = record_file(args.shard)
    with locked(args.output, lock_file(record)):
        check_alone(args.output, record)
        return predict(args, job, naming, settings, about)


def predict(
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
    record = args.output / record_file(args.shard)
    with writing_to(args.output):
        start_record(record, settings, about, is_fresh=job.is_fresh())
        if not args.shard:  # others may be writing
            job.remove_partial()
    files = [file for file in job.files if not job.is_done(file)]
    if done := len(job.files) - len(files):
        print(f"{done} of {len(job.files)} images are done and skipped")
    if files and args.dask:
        # imported here: it needs Dask
        from maskrcnnpp.inference.distributed import predict_on_cluster

        predict_on_cluster(args.dask, model_of(args), job, files, naming)
        if not args.shard:
            job.remove_partial()  # of workers that died
    elif files:
        try:
            launch(work, args.num_gpus, dist_url="auto", args=(args, job, files, naming))
        except ProcessExitedException:
            return 2  # the process has said why
    if not args.shard:
        collect_coco(job)
    if scales := job.scales():
        add_scales(record, scales)
        print(f"{len(scales)} images were resized for the model, by the factors in {record.name}")
    left_out = [file for file in job.files if not job.is_done(file)]
    print(f"{len(job.files) - len(left_out)} of {len(job.files)} images: {args.output}")
    print(f"settings: {record}")
    return 1 if left_out else 0
