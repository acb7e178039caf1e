"""The command ``maskrcnnpp predict``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from maskrcnnpp.environment import machine, versions
from maskrcnnpp.errors import ConfigError, exit_on_user_error, printable
from maskrcnnpp.images import find_images
from maskrcnnpp.inference.backend import BACKENDS, RUNTIMES, Trained, find_trained
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.processes import check_processes, predict_in_processes
from maskrcnnpp.inference.record import (
    add_scales,
    backend_of,
    check_alone,
    digest,
    lock_file,
    record_file,
    start_record,
)
from maskrcnnpp.inference.run import Job, collect_coco, predict_files, writing_to
from maskrcnnpp.inference.semantic_predictor import predictor_of
from maskrcnnpp.lock import locked
from maskrcnnpp.models import DEFAULT

# beside NumPy, what pixels and objects come from
_PACKAGES = (
    "pillow",
    "tifffile",
    "imagecodecs",
    "zarr",
    "openslide-python",
    *("bioio", "bioio-czi", "bioio-lif", "bioio-nd2"),
    "opencv-python-headless",
    "opencv-python",
)


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of :class:`maskrcnnpp.inference.options.Options` that are given."""
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
    return {name: value for name, value in given.items() if value is not None}


def _torch_first(args: argparse.Namespace) -> bool | None:
    """See :func:`find_trained`. A run goes on with the backend that it was begun with."""
    if (begun := backend_of(args.output)) is not None:
        return begun == "torch"
    # other machines, which are to take the same backend, may have a GPU
    elsewhere = args.shard or (args.dask and not args.dask.startswith("local:"))
    return True if elsewhere or args.num_gpus > 1 else None


def model_of(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :func:`find_trained`."""
    nms = ("MODEL.ROI_HEADS.NMS_THRESH_TEST", str(args.nms)) if args.nms is not None else ()
    return {
        "name": args.config_file or args.model or DEFAULT,
        "weights": args.weights,
        "backend": args.backend,
        "opts": [*args.opts, *nms],
        "depth": args.depth,
        "options": options(args),
        "torch_first": _torch_first(args),
    }


def work(
    args: argparse.Namespace, trained: Trained, job: Job, files: Sequence[Path], naming: Naming
) -> None:
    """Predict this process's share of the files."""
    rank, count = 0, 1
    if args.num_gpus > 1:
        from detectron2.utils import comm

        rank, count = comm.get_rank(), comm.get_world_size()
    with exit_on_user_error() if count > 1 else nullcontext():
        predictor = predictor_of(trained, **options(args))
        predict_files(predictor, job, files[rank::count], naming, quiet=rank > 0)


def _tell(text: str) -> None:
    print(printable(text), file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    if args.dask:
        from maskrcnnpp.inference.distributed import check_scheduler

        check_scheduler(args.dask)
    check_processes(args.processes)
    files = find_images(args.inputs, tell=_tell)
    trained = find_trained(**model_of(args))
    if trained.backend in BACKENDS:
        args.backend = trained.backend  # of all processes and workers
    check_gpus(args.num_gpus, trained)
    # as in training, unless told otherwise
    args.channels = args.channels or list(trained.channels) or None
    job = Job(
        files,
        args.output,
        args.format,
        args.channels,
        args.level or 0,
        args.scene,
        args.planes,
        args.stitch,
    )
    job.check(is_semantic=trained.is_semantic)
    naming = trained.naming(args.annotations)
    settings = {
        **trained.settings(),
        "channels": args.channels,
        "level": args.level or None,
        "scene": args.scene,
        "planes": args.planes,
        "stitch": args.stitch,
        "annotations": args.annotations and digest(args.annotations),
        **asdict(trained.tuned(options(args))),
    }
    batch_size = settings.pop("batch_size")  # decides the time and memory only
    about = {"command": args.command, "batch_size": batch_size}
    if trained.title:
        about["model"] = trained.title
    runtime = RUNTIMES.get(trained.backend)
    packages = (*_PACKAGES, runtime) if runtime else _PACKAGES
    about |= {"machine": machine(), "versions": versions(*packages)}
    if args.shard:  # by name, which tells images apart: the same in every shard
        share, count = args.shard
        in_order = sorted(files, key=lambda file: file.name)
        job = replace(job, files=in_order[share - 1 :: count])
    record = record_file(args.shard)
    with locked(args.output, lock_file(record)):
        check_alone(args.output, record)
        return predict(args, trained, job, naming, settings, about)


def check_gpus(wanted: int, trained: Trained) -> None:
    if wanted < 2:
        return
    if trained.backend != "torch":
        raise ConfigError(f"--num-gpus is {wanted}; the backend {trained.backend} runs on the CPU")
    import torch

    if wanted > (there := torch.cuda.device_count()):
        raise ConfigError(f"--num-gpus is {wanted}; this machine has {there}")


def launch(args: argparse.Namespace, *more: Any) -> bool:
    """Run :func:`work`, on several GPUs in a process each; whether it came to its end."""
    if args.num_gpus < 2:
        work(args, *more)
        return True
    from detectron2.engine import launch
    from torch.multiprocessing import ProcessExitedException

    try:
        launch(work, args.num_gpus, dist_url="auto", args=(args, *more))
    except ProcessExitedException:
        return False  # the process has said why
    return True


def predict(
    args: argparse.Namespace,
    trained: Trained,
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
        changed = [path for file in set(job.files) - set(files) for path in job.changed(file)]
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            print(
                f"{printable(min(changed))}{more}: changed since the run that wrote it, and kept; "
                "what you delete is made again"
            )
    if files and args.dask:
        # imported here: it needs Dask
        from maskrcnnpp.inference.distributed import predict_on_cluster

        predict_on_cluster(args.dask, model_of(args), options(args), job, files, naming)
        if not args.shard:
            job.remove_partial()  # of workers that died
    elif len(files) > 1 and args.processes > 1:
        count = min(args.processes, len(files))
        predict_in_processes(count, model_of(args), options(args), job, files, naming)
    elif files and not launch(args, trained, job, files, naming):
        return 2
    if not args.shard:
        collect_coco(job)
    if scales := job.scales():
        add_scales(record, scales)
        print(f"images resized for the model, by factors in {record.name}: {len(scales)}")
    left_out = [file for file in job.files if not job.is_done(file)]
    counts = job.counts().values()
    found = f", objects: {sum(counts)}" if counts else ""
    none = f" (images without any: {sum(not n for n in counts)})" if 0 in counts else ""
    done = len(job.files) - len(left_out)
    print(f"{done} of {len(job.files)} images{found}{none}: {args.output}")
    print(f"settings: {record}")
    return 1 if left_out else 0
