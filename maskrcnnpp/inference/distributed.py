"""Predict on the workers of a Dask cluster: many images, and the tiles of a large one.

An image is predicted and written by one worker, as by one process. Of an image that holds more than
a worker's share of all the data the tiles are predicted by all workers, and this process joins
them. Workers, scheduler and this process see the same files under the same names.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

import maskrcnnpp
from maskrcnnpp.errors import ConfigError, DataError, UserError, first_line
from maskrcnnpp.images import Raster, image_size, open_image
from maskrcnnpp.images.intensity import Limits
from maskrcnnpp.inference.backend import RUNTIMES, Trained, find_trained
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.processes import alone, predict_alone
from maskrcnnpp.inference.run import Job, leave_out, predict_files
from maskrcnnpp.inference.semantic_predictor import SemanticPredictor, predictor_of
from maskrcnnpp.inference.tiling import Tile, tile_image

try:
    import distributed
    from distributed.comm.core import CommClosedError
except ImportError as error:
    raise UserError("--dask needs distributed: pip install 'maskrcnnpp[dask]'") from error

_SECONDS = 60  # to reach a scheduler and its first worker
_AHEAD = 256  # batches of tiles that are given out before the first one is taken back
_LOCAL = re.compile(r"local:([1-9]\d*)")
# what Dask raises where the scheduler has gone away
_GONE = (
    distributed.CancelledError,
    distributed.TimeoutError,
    distributed.client.ClosedClientError,
    CommClosedError,
)


def check_scheduler(scheduler: str) -> None:
    """Check what can be before a model is loaded.

    Args:
        scheduler: an address, the path of a scheduler file, or "local:N" for N processes.

    Raises:
        ConfigError: it is none of these.
    """
    if not (_LOCAL.fullmatch(scheduler) or "://" in scheduler or Path(scheduler).is_file()):
        raise ConfigError(
            f"--dask {scheduler}: is neither an address, such as tcp://10.0.0.1:8786, nor a "
            "scheduler file that is there, nor local:N for N processes on this machine"
        )


def predict_on_cluster(
    scheduler: str,
    model: dict[str, Any],
    options: dict[str, Any],
    job: Job,
    files: Sequence[Path],
    naming: Naming,
) -> None:
    """:func:`maskrcnnpp.inference.run.predict_files` on a cluster, with the same outputs.

    Args:
        scheduler: of :func:`check_scheduler`.
        model: arguments of :func:`find_trained`.
        options: fields of :class:`maskrcnnpp.inference.options.Options` that are given.

    Raises:
        UserError: the cluster cannot be reached or is lost, its workers differ from this machine,
            or outputs cannot be written.
    """
    model = {**model, "name": _absolute(model["name"])}
    if model["weights"]:
        model["weights"] = _absolute(model["weights"])
    trained = find_trained(**model)
    files = [Path(_absolute(file)) for file in files]
    job = replace(job, files=files, output_dir=Path(_absolute(job.output_dir)))
    packed = pickle.dumps((model, options, _versions(trained)))
    with _connected(scheduler) as client, _loss_named():
        spread = []
        if job.planes is None:  # a stack is predicted by one worker: its planes may be stitched
            spread = _to_spread(files, len(client.nthreads()), trained.tuned(options))
        futures = {
            client.submit(_predict_file, packed, *alone(job, file, naming), pure=False): file
            for file in files
            if file not in spread
        }
        if spread:
            if trained.backend == "torch":
                # here, models only join what workers found, and need no GPU
                trained = find_trained(**{**model, "opts": [*model["opts"], "MODEL.DEVICE", "cpu"]})
            predictor = predictor_of(trained, **options)
        for file in spread:
            # in the place of a method that asks the model of this process
            predictor._outputs = functools.partial(  # type: ignore[method-assign]
                _outputs_of_workers, client, packed, file, job.channels
            )
            predict_files(predictor, job, [file], naming)
        bar = tqdm(total=len(futures), desc="images", unit="image", disable=len(futures) < 2)
        with bar:
            for future in distributed.as_completed(futures, loop=client.loop):
                try:
                    for told in _result(future, futures[future]):
                        leave_out(*told)
                except DataError as error:
                    leave_out(futures[future], str(error))
                bar.update()


def _to_spread(files: Sequence[Path], workers: int, options: Options) -> list[Path]:
    """Images of several tiles that hold more than a worker's share of all bytes."""
    sizes = {file: file.stat().st_size for file in files if file.is_file()}
    total = sum(sizes.values())
    large = [file for file, size in sizes.items() if size * workers > total]
    return [file for file in large if _is_tiled(file, options.tile_size, options.overlap)]


def _is_tiled(file: Path, size: int, overlap: int) -> bool:
    try:
        return len(tile_image(*image_size(file), size, overlap)) > 1
    except (DataError, OSError):  # the worker says so
        return False


def _outputs_of_workers(
    client: distributed.Client,
    packed: bytes,
    file: Path,
    channels: Sequence[int] | None,
    raster: Raster,
    batches: Sequence[Sequence[Tile]],
    limits: Limits | None,
    scale: float,
) -> Iterator[Sequence[Any]]:
    """Outputs of workers, in the place of :meth:`TiledPredictor._outputs`."""
    waiting: deque[distributed.Future] = deque()
    state = file.stat().st_mtime_ns
    for batch in batches:
        about = (packed, file, state, channels, batch, limits, scale)
        with _loss_named():
            # before whole images, for which nothing waits
            waiting.append(client.submit(_predict_tiles, *about, pure=False, priority=1))
        if len(waiting) == _AHEAD:
            yield _result(waiting.popleft(), file)
    while waiting:
        yield _result(waiting.popleft(), file)


def _result(future: distributed.Future, file: Path) -> Any:
    with _loss_named():
        try:
            return future.result()
        except distributed.KilledWorker as error:
            raise DataError(
                f"{file}: {error.allowed_failures + 1} workers died of it, as when memory does not "
                "suffice; lower --tile-size or --batch-size, or give workers more"
            ) from error


@contextmanager
def _connected(scheduler: str) -> Iterator[distributed.Client]:
    """A client of a cluster with a worker at least.

    Raises:
        UserError: there is none.
    """
    for name in ("distributed", "bokeh"):  # losses are named here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        where: dict[str, Any] = {"address": scheduler}
        if match := _LOCAL.fullmatch(scheduler):
            cluster = distributed.LocalCluster(
                n_workers=int(match[1]),
                threads_per_worker=1,
                memory_limit=0,  # as for one process; Dask's may pause workers for ever
                dashboard_address=None,
                env={"PYTHONWARNINGS": "ignore"},  # of Detectron2, by each worker
            )
            where = {"address": stack.enter_context(cluster)}
        elif "://" not in scheduler:
            where = {"scheduler_file": scheduler}
        try:
            client = distributed.Client(**where, timeout=_SECONDS, set_as_default=False)
        except Exception as error:  # Dask raises what it likes, also of a damaged file
            raise UserError(
                f"--dask {scheduler}: no scheduler answers ({first_line(error)}); start one with "
                "`dask scheduler`, and run the same command again"
            ) from error
        stack.enter_context(client)
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
        except distributed.TimeoutError as error:
            raise UserError(
                f"--dask {scheduler}: the scheduler has no worker; start some with `dask worker`, "
                "and run the same command again"
            ) from error
        yield client


@contextmanager
def _loss_named() -> Iterator[None]:
    try:
        yield
    except _GONE as error:
        raise UserError(
            f"the Dask scheduler has gone away ({first_line(error)}); start it again and run the "
            "same command: it goes on where it stopped"
        ) from error


def _absolute(path: str | os.PathLike) -> str:
    text = os.fspath(path)
    return os.path.abspath(text) if os.path.exists(text) else text  # a model by its name


def _versions(trained: Trained) -> dict[str, str]:
    """Versions and settings that must be the same on all machines, for the same results."""
    return {
        "maskrcnnpp": maskrcnnpp.__version__,
        trained.backend: metadata.version(RUNTIMES.get(trained.backend, trained.backend)),
        **{key: str(value) for key, value in trained.settings().items()},
    }


# on a worker; several of its threads share one model

_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=1)
def _predictor(packed: bytes) -> Predictor | SemanticPredictor:
    model, options, versions = pickle.loads(packed)
    worker = f"the worker {distributed.get_worker().address}"
    try:
        trained = find_trained(**model)
        here = _versions(trained)
    except (OSError, UserError) as error:
        raise ConfigError(
            f"{worker} cannot read {model['weights'] or model['name']}, as the machine of the "
            f"command does: {first_line(error)}; put it on a drive that all share"
        ) from error
    if differing := sorted(key for key in {*here, *versions} if here.get(key) != versions.get(key)):
        raise ConfigError(
            f"{worker} has another {' and '.join(differing)} than the machine of the command: give "
            "all the same environment and files"
        )
    return predictor_of(trained, **options, progress=False)


@functools.lru_cache(maxsize=1)
def _opened(file: Path, state: int, channels: tuple[int, ...] | None) -> Raster:
    """An image that stays open for its next tiles.

    Args:
        state: another number where the file was changed.
    """
    return open_image(file, channels)


def _predict_file(packed: bytes, job: Job, file: Path, naming: Naming) -> list[tuple[Path, str]]:
    with _one_at_a_time:
        return predict_alone(_predictor(packed), job, file, naming)


def _predict_tiles(
    packed: bytes,
    file: Path,
    state: int,
    channels: Sequence[int] | None,
    batch: Sequence[Tile],
    limits: Limits | None,
    scale: float,
) -> list[Any]:
    """Outputs of the model for a batch of tiles."""
    with _one_at_a_time:
        raster = _opened(file, state, channels and tuple(channels))
        (outputs,) = _predictor(packed)._outputs(raster, [batch], limits, scale)
        return list(outputs)
