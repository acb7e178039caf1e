"""Evaluation while training: the best checkpoint, and an end where nothing gets better."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from maskrcnnpp.engine.processes import broadcast_from_main
from maskrcnnpp.errors import ConfigError, OutputError
from maskrcnnpp.files import output_errors

logger = logging.getLogger(__name__)

BEST = "model_best"


class Evaluation(HookBase):
    """Evaluates on a schedule and at the end, keeps the best weights, stops after no gain.

    What Detectron2's ``EvalHook`` and ``BestCheckpointer`` do. What is best so far is in the
    checkpoint, so that a restart remembers it; ``last_checkpoint`` never names the best one, so
    that a restart goes on with the last. An evaluation that a training was killed in is made up
    for after the restart.
    """

    def __init__(
        self,
        evaluate: Callable[[], Mapping[str, Any]],
        period: int,
        *,
        metric: str = "",
        datasets: Sequence[str] = (),
        patience: int = 0,
        save_best: Callable[[str], None] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            evaluate: gives nested dicts of numbers; empty in other processes than the main one.
            period: iterations; 0 for the end only.
            metric: by which a model is the best, such as "segm/AP"; the lowest where its name
                has "loss" in it. "" for none.
            datasets: names of those that are evaluated: the best so far is of these only.
            patience: evaluations in a row without a better one that end the training; 0 for
                going on.
            save_best: saves a checkpoint of this name, in the main process.
            before: called first, such as to save what an evaluation that fails would cost.
        """
        self._evaluate = evaluate
        self._period = period
        self._metric = metric
        self._datasets = list(datasets)
        self._patience = patience
        self._save_best = save_best
        self._before = before
        #: Iterations that there were at the last evaluation.
        self.evaluated = 0
        self._best: float | None = None
        self._best_iteration = -1
        self._without_gain = 0
        self._error: OutputError | None = None

    @property
    def best(self) -> tuple[float, int] | None:
        """Best value of the metric and the iteration it is of; None before any."""
        return None if self._best is None else (self._best, self._best_iteration)

    def before_train(self) -> None:
        start = self.trainer.start_iter
        if self._is_spent():
            logger.info("stopped before: no better %s in %d evaluations", self._metric,
                        self._patience)  # fmt: skip
            self.trainer.max_iter = start
        elif start > self.evaluated and self._is_due(start):
            self.trainer.storage.iter = self.trainer.iter = start - 1
            self._run(start)
            self.trainer.storage.iter = self.trainer.iter = start

    def after_step(self) -> None:
        count = self.trainer.iter + 1
        is_last = count >= self.trainer.max_iter
        if (self._is_due(count) or is_last) and not self.trainer.stop_reason:
            if self._before is not None:
                self._before()
            self._run(count)

    def after_train(self) -> None:
        # of a training that had come to its end before it was restarted
        if self.trainer.start_iter >= self.trainer.max_iter and not self.trainer.results:
            self._run(self.trainer.max_iter)

    def _is_due(self, count: int) -> bool:
        return self._period > 0 and count % self._period == 0

    def _is_spent(self) -> bool:
        return 0 < self._patience <= self._without_gain

    def _run(self, count: int) -> None:
        try:
            with output_errors("the results of the evaluation"):
                found = flatten_results_dict(dict(self._evaluate() or {}))
            self._error = None
        except OutputError as error:
            found, self._error = {}, error
            logger.error("%s; the training goes on without this evaluation", error)
        self.trainer.storage.put_scalars(**found, smoothing_hint=False)
        value = self._value(found) if self._metric and self._error is None else None
        value = broadcast_from_main(value)
        if self._error is None:
            self.evaluated = count
        if value is not None:
            self._compare(value, count - 1)
        comm.synchronize()

    def raise_if_failed(self) -> None:
        """
        Raises:
            OutputError: the last evaluation could not be written, so that there are no results.
        """
        if self._error is not None:
            raise self._error

    def _value(self, found: Mapping[str, float]) -> float:
        if not comm.is_main_process():
            return math.nan
        if self._metric not in found:
            raise ConfigError(
                f"TEST.BEST_METRIC is {self._metric!r}, which the evaluation does not give; it "
                f"gives {', '.join(sorted(found)) or 'nothing: DATASETS.TEST is empty'}"
            )
        return float(found[self._metric])

    def _compare(self, value: float, iteration: int) -> None:
        sign = -1 if "loss" in self._metric else 1
        if math.isfinite(value) and (self._best is None or sign * value > sign * self._best):
            self._best, self._best_iteration, self._without_gain = value, iteration, 0
            self._save(value, iteration)
            return
        self._without_gain += 1
        if self._best is not None:
            logger.info(
                "%s is %.4g; the best is still %.4g of iteration %d",
                self._metric, value, self._best, self._best_iteration,
            )  # fmt: skip
        if self._is_spent() and self.trainer.iter + 1 < self.trainer.max_iter:
            reason = f"no better {self._metric} in {self._patience} evaluations"
            self.trainer.stop(reason, is_end=True)

    def _save(self, value: float, iteration: int) -> None:
        if self._save_best is None or not comm.is_main_process():
            return
        try:
            self._save_best(BEST)
            logger.info("%s is %.4g, the best so far: %s.pth", self._metric, value, BEST)
        except OutputError as error:
            logger.error("%s; the training goes on", error)

    def state_dict(self) -> dict[str, Any]:
        return {
            "evaluated": self.evaluated,
            "metric": self._metric,
            "datasets": self._datasets,
            "best": self._best,
            "best_iteration": self._best_iteration,
            "without_gain": self._without_gain,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.evaluated = state["evaluated"]
        judged_by = state["metric"], state.get("datasets", self._datasets)
        if judged_by != (self._metric, self._datasets):
            return  # of another metric or other data: nothing is the best yet
        self._best = state["best"]
        self._best_iteration = state["best_iteration"]
        self._without_gain = state["without_gain"]
