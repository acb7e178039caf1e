"""One process for each GPU, or several on a CPU, started here or by torchrun."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from detectron2.engine import launch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException

from maskrcnnpp.errors import ConfigError, exit_on_user_error

# environment variables of torchrun
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def is_torchrun() -> bool:
    """Whether this process is one of those that torchrun started."""
    return all(name in os.environ for name in _TORCHRUN)


def launch_processes(
    main: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    num_processes: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Detectron2's ``launch``, that also does without GPUs, and joins torchrun.

    SIGTERM is handed on to the processes. A process that fails ends them all.

    Args:
        main: called in each process with ``args``.
        num_processes: of this machine; the others as for ``launch``. Under torchrun these are
            what it says.

    Raises:
        ConfigError: see :func:`check_process_count`.
        SystemExit: processes ended with that status.
    """
    if is_torchrun():
        _join_torchrun()
        try:
            main(*args)
        finally:
            torch.distributed.destroy_process_group()
        return
    check_process_count(num_processes)
    if num_processes * num_machines == 1:
        main(*args)
        return
    with _signals_for_children():
        try:
            launch(
                _in_process,
                num_processes,
                num_machines=num_machines,
                machine_rank=machine_rank,
                dist_url=dist_url,
                args=(main, args),
            )
        except ProcessExitedException as error:  # which has told its reason itself
            sys.exit(error.exit_code if error.exit_code > 0 else 128 - error.exit_code)


def check_process_count(count: int) -> None:
    """Check ``--num-gpus``.

    Raises:
        ConfigError: there are not as many GPUs, or cores where there is none.
    """
    gpus = torch.cuda.device_count()
    there = gpus if gpus else os.cpu_count() or 1
    if count > there:
        what = "GPUs" if gpus else "cores and no GPU"
        raise ConfigError(f"--num-gpus is {count}; this machine has {there} {what}")


def _join_torchrun() -> None:
    local_rank = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(local_rank)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))


def _in_process(main: Callable[..., Any], args: tuple[Any, ...]) -> None:
    with exit_on_user_error():
        main(*args)


@contextlib.contextmanager
def _signals_for_children() -> Iterator[None]:
    """A parent that only waits hands SIGTERM on; it ends when its processes do.

    Ctrl-C reaches all of them, and the first one is for the processes; a second one ends all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hand_on(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(number, before[number])
            return
        for child in multiprocessing.active_children():
            child.terminate()

    taken = (n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) != signal.SIG_IGN)
    before = {number: signal.signal(number, hand_on) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
