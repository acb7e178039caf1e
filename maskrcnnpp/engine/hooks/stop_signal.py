"""SIGTERM, which clusters send before they take a machine away."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from detectron2.engine import HookBase

from maskrcnnpp.engine.processes import any_process


class StopOnSigterm(HookBase):
    """Ends the training after the iteration in which any of its processes got SIGTERM.

    Has to come before the hook that saves, which then saves.
    """

    def __init__(self) -> None:
        self._is_told = False
        self._before: object = None

    def before_train(self) -> None:
        # Python lets no other thread take signals
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._is_told = True

    def after_step(self) -> None:
        device = next(self.trainer.model.parameters()).device
        if any_process(self._is_told, device):
            self.trainer.stop("SIGTERM")

    def after_train(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None
