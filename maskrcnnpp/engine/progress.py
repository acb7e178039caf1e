"""Progress of a training: a line now and then, and a table at its end."""

from __future__ import annotations

import datetime
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.events import EventStorage, EventWriter, get_event_storage
from tabulate import tabulate

try:
    import resource
except ImportError:  # Windows
    resource = None

logger = logging.getLogger(__name__)

_WINDOW = 20  # iterations that a line is the median of


class ProgressPrinter(EventWriter):
    """A line of where a training is, in the log.

    In the place of Detectron2's ``CommonMetricPrinter``, with memory also without a GPU.
    """

    def __init__(self, max_iter: int) -> None:
        """
        Args:
            max_iter: iterations of the training.
        """
        self._max_iter = max_iter

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter < self._max_iter:  # the table says what comes after
            logger.info("%s", progress_line(storage, self._max_iter))


class TolerantWriter(EventWriter):
    """Another writer, of which a full disk ends no training: an error is logged once."""

    def __init__(self, writer: EventWriter) -> None:
        """
        Args:
            writer: what it could not write it may write the next time.
        """
        self._writer = writer
        self._has_failed = False

    def write(self) -> None:
        self._try(self._writer.write)

    def close(self) -> None:
        self._try(self._writer.close)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError as error:
            if not self._has_failed:
                name = type(self._writer).__name__
                logger.error("%s: %s; the training goes on", name, error.strerror or error)
            self._has_failed = True
        else:
            self._has_failed = False


def progress_line(storage: EventStorage, max_iter: int) -> str:
    """Such as ``iteration 140/500 (28 %)  2:13 left  loss 1.23 (mask 0.41, cls 0.20)  ...``."""
    done = storage.iter + 1
    words = [f"iteration {done}/{max_iter} ({100 * done // max_iter} %)"]
    seconds = _median(storage, "time", 1000)
    if seconds is not None:
        left = seconds * (max_iter - done)
        storage.put_scalar("eta_seconds", left, smoothing_hint=False)
        words.append(f"{short_time(left)} left")
    total = _median(storage, "total_loss", _WINDOW)
    if total is not None:
        parts = {
            name.removeprefix("loss_"): _median(storage, name, _WINDOW)
            for name in storage.histories()
            if name.startswith("loss_")
        }
        shown = ", ".join(f"{name} {value:.3g}" for name, value in parts.items())
        words.append(f"loss {total:.4g}" + (f" ({shown})" if shown else ""))
    latest = storage.latest()
    if "lr" in latest:
        words.append(f"lr {latest['lr'][0]:.3g}")
    if seconds is not None:
        data = _median(storage, "data_time", _WINDOW) or 0.0
        words.append(f"{seconds:.3g} s an iteration ({data:.2g} waiting for images)")
    words.append(f"memory {peak_memory() / 2**30:.2f} GiB")
    return "  ".join(words)


def _median(storage: EventStorage, name: str, window: int) -> float | None:
    history = storage.histories().get(name)
    return None if history is None or not history.values() else history.median(window)


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, otherwise of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return process_peak()


def process_peak() -> int:
    """Bytes of this process; 0 where that is unknown."""
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def short_time(seconds: float) -> str:
    """Such as 0:02:13."""
    return str(datetime.timedelta(seconds=round(seconds)))


class Stopwatch:
    """Time since it was made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin


def closing_table(
    *,
    iterations: int,
    seconds: float,
    results: Mapping[str, Any],
    best: tuple[float, int] | None,
    metric: str,
    left_out: int,
    folder: str,
    files: Sequence[str],
) -> str:
    """Summary of a finished training.

    Args:
        iterations: of this start.
        seconds: of these, with what was evaluated and saved.
        results: of the last evaluation.
        best: value of ``metric`` and the iteration it is of.
        left_out: iterations with bad losses.
        folder: OUTPUT_DIR.
        files: names in it that are worth a look; those that are not there are left out.
    """
    rows = [("iterations", f"{iterations} in {short_time(seconds)}")]
    rows.append(("peak memory", f"{peak_memory() / 2**30:.2f} GiB"))
    found = flatten_results_dict(dict(results))
    rows += [(name, f"{x:.2f}") for name, x in found.items() if name.rsplit("/")[-1] == "AP"]
    if best is not None:
        rows.append((f"best {metric}", f"{best[0]:.4g} after iteration {best[1]}"))
    if left_out:
        rows.append(("left out", f"{left_out} iterations with bad losses"))
    there = [name for name in files if Path(folder, name).exists()]
    rows.append((folder, ", ".join(there)))
    return tabulate(rows, tablefmt="plain", disable_numparse=True)
