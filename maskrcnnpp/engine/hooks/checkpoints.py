"""Checkpoints on a schedule, when a training is asked to stop, and at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from detectron2.engine import HookBase

from maskrcnnpp.errors import OutputError
from maskrcnnpp.modeling.checkpoint import Checkpointer

logger = logging.getLogger(__name__)

FINAL = "model_final"


class Checkpoints(HookBase):
    """``model_0001999.pth`` and so on, as Detectron2 names them, and ``model_final.pth``.

    The last iteration has both: its number's, from which a training of more iterations goes on,
    and ``model_final.pth``, which has the weights alone and a third of the size.

    A disk that is full fails the saving and not the training, which says so and goes on; the last
    checkpoint is the one before. In the main process only.
    """

    def __init__(self, checkpointer: Checkpointer, period: int, kept: int = 0) -> None:
        """
        Args:
            checkpointer: saves.
            period: iterations; 0 for none on a schedule.
            kept: of those on a schedule, the last ones, or 0 for all.
        """
        self._checkpointer = checkpointer
        self._period = period
        self._kept = kept
        self._error: OutputError | None = None

    def save_if_due(self) -> None:
        """Save what the schedule wants of this iteration, which has ended."""
        count = self.trainer.iter + 1
        is_last = count >= self.trainer.max_iter
        is_due = self._period > 0 and count % self._period == 0
        if is_due or is_last or self.trainer.stop_reason:
            self._error = None
            if self._save(self._checkpointer.save, f"model_{self.trainer.iter:07d}"):
                self._remove_old()
        if is_last:
            self._save(self._checkpointer.save_weights, FINAL)

    def after_step(self) -> None:
        self.save_if_due()

    def raise_if_failed(self) -> None:
        """
        Raises:
            OutputError: the last saving failed, so that there is less than should be.
        """
        if self._error is not None:
            raise self._error

    def _save(self, save: Callable[..., None], name: str) -> bool:
        try:
            save(name, iteration=self.trainer.iter)
        except OutputError as error:
            self._error = error
            logger.error("%s; the training goes on", error)
            return False
        return True

    def _remove_old(self) -> None:
        if self._kept > 0 and self._checkpointer.save_to_disk:
            files = sorted(Path(self._checkpointer.save_dir).glob("model_???????.pth"))
            for file in files[: -self._kept]:
                file.unlink(missing_ok=True)
