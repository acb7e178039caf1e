"""Guard against losses that are not finite or explode."""

from __future__ import annotations

import logging
import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.utils import comm

from maskrcnnpp.errors import DivergedError, OutputError
from maskrcnnpp.files import write_json

logger = logging.getLogger(__name__)

FOLDER = "bad_losses"
_WINDOW = 50  # losses that an explosion is measured by
_FEWEST_LOSSES = 20


class LossGuard:
    """Finds losses that would spoil the weights, and ends the training after too many.

    Its state belongs into checkpoints: whether an iteration is left out depends on the losses
    before it.
    """

    def __init__(self, output_dir: str, *, allowed: int = 0, largest: float = math.inf) -> None:
        """
        Args:
            output_dir: of the training; what went wrong is written into :data:`FOLDER` there.
            allowed: iterations that may be left out before the training ends.
            largest: times the median of the last losses that is an explosion.
        """
        self._folder = Path(output_dir) / FOLDER
        self._allowed = allowed
        self._largest = largest
        #: Iterations so far.
        self.left_out = 0
        self._recent: deque[float] = deque(maxlen=_WINDOW)

    def is_bad(self, losses: Mapping[str, float]) -> bool:
        """Whether an iteration with these losses, by name, has to be left out."""
        total = sum(losses.values())
        if not math.isfinite(total):
            return True
        return len(self._recent) >= _FEWEST_LOSSES and (
            total > self._largest * statistics.median(self._recent)
        )

    def accept(self, losses: Mapping[str, float]) -> None:
        """Take up the losses of an iteration that counts."""
        self._recent.append(sum(losses.values()))

    def leave_out(
        self,
        iteration: int,
        losses: Mapping[str, float],
        batch: Sequence[Mapping[str, Any]],
        *,
        is_here: bool,
    ) -> None:
        """Write down what went wrong.

        Args:
            batch: Detectron2's inputs.
            is_here: whether it was in this process, and not in another one of the training.

        Raises:
            DivergedError: too often.
        """
        name = f"iteration_{iteration:07d}"
        if comm.get_world_size() > 1:
            name += f"_process_{comm.get_rank()}"
        path = self._folder / f"{name}.json"
        if is_here:
            named = {
                name: value if math.isfinite(value) else str(value)  # JSON has no nan
                for name, value in losses.items()
            }
            images = [str(image.get("file_name", "")) for image in batch]
            found = {"iteration": iteration, "losses": named, "images": images}
            try:
                write_json(path, found, indent=1)
            except OutputError as error:
                logger.error("%s: %s", error, found)
        self.left_out += 1
        shown = ", ".join(f"{key} {value:.4g}" for key, value in losses.items())
        what = f"the loss is not finite or exploded at iteration {iteration} ({shown})"
        if self.left_out > self._allowed:
            raise DivergedError(
                f"{what}; its images are listed in {self._folder}. Look at these, or lower "
                "SOLVER.BASE_LR, or lengthen SOLVER.WARMUP_ITERS; SOLVER.BAD_LOSSES.SKIP is how "
                f"many iterations may be left out, {self._allowed} now"
            )
        logger.warning(
            "%s: it is left out, %d of %d times; see %s",
            what, self.left_out, self._allowed, path,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return {"left_out": self.left_out, "recent": list(self._recent)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.left_out = state["left_out"]
        self._recent = deque(state["recent"], maxlen=_WINDOW)
