"""A training in an experiment tracker: MLflow, Weights & Biases or Trackio."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase

from maskrcnnpp.config_reader import changed_keys
from maskrcnnpp.engine.run_record import flat
from maskrcnnpp.errors import ConfigError, UserError, first_line
from maskrcnnpp.files import write_json

logger = logging.getLogger(__name__)

TRACKERS = ("mlflow", "wandb", "trackio")
_FILE = "tracker.json"  # in OUTPUT_DIR: of which run a resumed training is
_WINDOW = 20  # iterations, of which losses are the median, as in TensorBoard's file


def check_tracker(cfg: CfgNode) -> None:
    """Check that the tracker of a config is there.

    Raises:
        ConfigError: it is unknown, or not installed.
    """
    name = cfg.TRACKER.NAME
    if name not in ("", *TRACKERS):
        raise ConfigError(f"TRACKER.NAME is {name!r}; it can be {', '.join(TRACKERS)} or ''")
    # runs of a tracker lie in a folder of its name, which Python takes for a package
    if name and not ((spec := importlib.util.find_spec(name)) and spec.origin):
        raise ConfigError(f"TRACKER.NAME is {name!r}, which is not installed: pip install {name}")


class Tracker(HookBase):
    """Sends the config and all scalars of the event storage. In the main process only.

    Comes after the hooks that put scalars. An error while training ends the tracking alone.
    """

    def __init__(self, cfg: CfgNode, period: int = 20) -> None:
        """
        Args:
            period: iterations.
        """
        self._cfg, self._period = cfg, period
        self._run: _Run | None = None
        self._last = -1

    def before_train(self) -> None:
        """Begin a run, or resume that of this OUTPUT_DIR.

        Raises:
            UserError: the tracker does not begin it.
        """
        name, path = self._cfg.TRACKER.NAME, Path(self._cfg.OUTPUT_DIR, _FILE)
        self._last, run_id = self.trainer.start_iter - 1, None
        try:
            if self.trainer.start_iter and path.is_file():
                run_id = json.loads(path.read_text(encoding="utf-8")).get(name)
            self._run = (_MLflow if name == "mlflow" else _Wandb)(self._cfg, run_id)
        except Exception as error:  # a tracker raises what it likes
            raise UserError(
                f"{name} does not begin a run: {first_line(error)}; see to it, or leave out "
                "TRACKER.NAME"
            ) from error
        write_json(path, {name: self._run.id})

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self._period == 0:
            self._send()

    def after_train(self) -> None:
        self._send()
        if self._run:
            self._try(self._run.end)

    def _send(self) -> None:
        by_step: dict[int, dict[str, float]] = defaultdict(dict)
        latest = self.trainer.storage.latest_with_smoothing_hint(_WINDOW)
        for name, (value, step) in latest.items():
            if step > self._last:
                by_step[step][name] = float(value)
        for step in sorted(by_step):
            if self._run:
                self._try(self._run.log, by_step[step], step)
            self._last = step

    def _try(self, call: Any, *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:
            what = f"{self._cfg.TRACKER.NAME}: {first_line(error)}"
            logger.error("%s; the training goes on without the tracker", what)
            self._run = None


class _Wandb:
    """A run of Weights & Biases, or of Trackio, which has the same functions."""

    def __init__(self, cfg: CfgNode, run_id: str | None) -> None:
        about: dict[str, Any] = {"project": cfg.TRACKER.PROJECT, "config": changed_keys(cfg)}
        if cfg.TRACKER.NAME == "wandb":
            name = Path(cfg.OUTPUT_DIR).name
            about |= {"dir": cfg.OUTPUT_DIR, "name": name, "id": run_id, "resume": "allow"}
        elif run_id:
            about |= {"name": run_id, "resume": "allow"}
        self._run = importlib.import_module(cfg.TRACKER.NAME).init(**about)
        self.id = self._run.id if cfg.TRACKER.NAME == "wandb" else self._run.name

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def end(self) -> None:
        self._run.finish()


class _MLflow:
    """A run of MLflow, at the address of MLFLOW_TRACKING_URI."""

    def __init__(self, cfg: CfgNode, run_id: str | None) -> None:
        self._mlflow = importlib.import_module("mlflow")
        self._mlflow.set_experiment(cfg.TRACKER.PROJECT)
        name = Path(cfg.OUTPUT_DIR).name
        run = self._mlflow.start_run(run_id=run_id, run_name=None if run_id else name)
        self.id = run.info.run_id
        if not run_id:  # parameters cannot change
            for key, value in flat(CfgNode(changed_keys(cfg))):
                self._mlflow.log_param(key, value)
        self._mlflow.log_text(cfg.dump(), "config.yaml")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def end(self) -> None:
        self._mlflow.end_run()


_Run = _Wandb | _MLflow
