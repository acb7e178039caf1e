"""Predict in several processes of this machine, which share its cores.

On a CPU that is faster than one process that uses all cores: while one reads or writes, the others
compute, and parts of a model that run on one core leave no other idle.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from maskrcnnpp.environment import cores
from maskrcnnpp.errors import ConfigError, UserError
from maskrcnnpp.inference.backend import find_trained
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.run import Job, leave_out, predict_files
from maskrcnnpp.inference.semantic_predictor import SemanticPredictor, predictor_of

# what PyTorch, NumPy and the runtimes of exported models (inference/exported_model.py) go by
_THREADS = "OMP_NUM_THREADS"


def check_processes(wanted: int) -> None:
    """Check that there can be so many processes.

    Raises:
        ConfigError: there cannot.
    """
    if not 1 <= wanted <= cores():
        raise ConfigError(
            f"--processes is {wanted}; choose 1 to {cores()}, the cores of this machine"
        )


def predict_in_processes(
    count: int,
    model: dict[str, Any],
    options: dict[str, Any],
    job: Job,
    files: Sequence[Path],
    naming: Naming,
) -> None:
    """:func:`maskrcnnpp.inference.run.predict_files` in processes, each of which loads the model.

    Args:
        count: of processes; each computes with its share of the cores, or as many threads as
            OMP_NUM_THREADS says.
        model: arguments of :func:`find_trained`.
        options: fields of :class:`maskrcnnpp.inference.options.Options` that are given.

    Raises:
        UserError: a process died, or outputs cannot be written.
    """
    packed = pickle.dumps((model, options))
    context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
    with (
        _threads(max(1, cores() // count)),
        ProcessPoolExecutor(count, context, initializer=_ignore_interrupts) as pool,
        tqdm(total=len(files), desc="images", unit="image", disable=len(files) < 2) as bar,
    ):
        try:
            futures = {
                pool.submit(_predict_file, packed, *alone(job, file, naming)): file
                for file in files
            }
            for future in as_completed(futures):
                for reported in future.result():
                    leave_out(*reported)
                bar.update()
        except BrokenProcessPool as error:
            raise UserError(
                "a process died, as when memory does not suffice; lower --processes or --tile-size "
                "and run the same command again: it goes on where it stopped"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)  # after the images that are being predicted


def alone(job: Job, file: Path, naming: Naming) -> tuple[Job, Path, Naming]:
    """The arguments reduced to one of very many files, for another process."""
    ids = naming.image_ids
    if ids is not None:
        ids = {name: id_ for name, id_ in ids.items() if name == file.name}
    return replace(job, files=[file]), file, replace(naming, image_ids=ids)


def predict_alone(
    predictor: Predictor | SemanticPredictor, job: Job, file: Path, naming: Naming
) -> list[tuple[Path, str]]:
    """Predict on one of the job's files; what was left out, and why."""
    left_out: list[tuple[Path, str]] = []

    def add(file: Path, reason: str) -> None:
        left_out.append((file, reason))

    predict_files(predictor, job, [file], naming, quiet=True, leave_out=add)
    return left_out


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let processes that are started now compute with so many threads, unless the user chose."""
    if _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = str(count)
    try:
        yield
    finally:
        del os.environ[_THREADS]


# in a process


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process of the command, which lets the images be finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@functools.lru_cache(maxsize=1)
def _predictor(packed: bytes) -> Predictor | SemanticPredictor:
    model, options = pickle.loads(packed)
    return predictor_of(find_trained(**model), **options, progress=False)


def _predict_file(packed: bytes, job: Job, file: Path, naming: Naming) -> list[tuple[Path, str]]:
    return predict_alone(_predictor(packed), job, file, naming)
