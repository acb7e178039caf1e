"""Curves of a training, drawn while it goes on."""

from __future__ import annotations

import logging

from detectron2.engine import HookBase

from maskrcnnpp.engine.curves import write_curves
from maskrcnnpp.errors import OutputError

logger = logging.getLogger(__name__)


class Curves(HookBase):
    """Draws ``curves.png`` at checkpoints and at the end. In the main process only.

    Comes after the hook that writes metrics.json.
    """

    def __init__(self, output_dir: str, period: int) -> None:
        """
        Args:
            output_dir: of the training.
            period: iterations; 0 for the end only.
        """
        self._output_dir = output_dir
        self._period = period

    def after_step(self) -> None:
        if self._period > 0 and (self.trainer.iter + 1) % self._period == 0:
            self._draw()

    def after_train(self) -> None:
        self._draw()

    def _draw(self) -> None:
        try:
            write_curves(self._output_dir)
        except OutputError as error:
            logger.error("%s; the training goes on", error)
