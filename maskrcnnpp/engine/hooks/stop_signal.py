"""SIGTERM, which clusters send before they take a machine away, and Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from maskrcnnpp.engine.processes import any_process

CTRL_C = "Ctrl-C"
_TEXT = """
ends when this iteration, or the evaluation that runs, is over, and saves it; Ctrl-C again ends at \
once"""
_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: CTRL_C}


class StopOnSignal(HookBase):
    """Ends the training after the iteration in which any of its processes got SIGTERM or Ctrl-C.

    A second Ctrl-C ends it at once. Has to come before the hook that saves, which then saves.
    """

    def __init__(self) -> None:
        self._told = ""
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self) -> None:
        # Python lets no other thread take signals
        if threading.current_thread() is threading.main_thread():
            for number in _NAMES:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell's background jobs
                    self._before[number] = signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._told = self._told or _NAMES[signal.Signals(number)]
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
            if comm.is_main_process():
                print(_TEXT, file=sys.stderr, flush=True)

    def after_step(self) -> None:
        device = next(self.trainer.model.parameters()).device
        if any_process(bool(self._told), device):
            self.trainer.stop(self._told or "a signal to another process")

    def after_train(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
