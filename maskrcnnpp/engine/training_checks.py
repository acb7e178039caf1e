"""Keys of a training that are impossible, reported before it begins."""

from __future__ import annotations

import math
from typing import Any

from detectron2.config import CfgNode

from maskrcnnpp.engine.hooks.tracker import check_tracker
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.roi_heads_keys import check_roi_heads


def check_training_keys(cfg: CfgNode) -> None:
    """Check what a training would not come through, or not notice.

    Raises:
        ConfigError: one is impossible. The message names it.
    """
    check_tracker(cfg)
    check_roi_heads(cfg)
    solver, test = cfg.SOLVER, cfg.TEST
    for key in ("MAX_ITER", "IMS_PER_BATCH"):
        if solver[key] < 1:
            raise ConfigError(f"SOLVER.{key} is {solver[key]}; it is at least 1")
    for key in ("BASE_LR", "GAMMA", "MOMENTUM", "WEIGHT_DECAY"):
        if not 0 <= solver[key] < math.inf:
            raise ConfigError(f"SOLVER.{key} is {solver[key]}; it is a number from 0 on")
    _check_count("SOLVER.WARMUP_ITERS", solver.WARMUP_ITERS)
    steps = list(solver.STEPS)
    if steps != sorted(set(steps)) or any(step < 0 for step in steps):
        raise ConfigError(f"SOLVER.STEPS is {tuple(steps)}; they are rising iterations")
    if not 0 <= solver.EMA_DECAY < 1:
        raise ConfigError(f"SOLVER.EMA_DECAY is {solver.EMA_DECAY}; it is from 0 to below 1")
    _check_count("SOLVER.CHECKPOINTS_KEPT", solver.CHECKPOINTS_KEPT)
    _check_count("SOLVER.BAD_LOSSES.SKIP", solver.BAD_LOSSES.SKIP)
    _check_count("TEST.PATIENCE", test.PATIENCE)
    if not solver.BAD_LOSSES.LARGEST > 1 or math.isnan(solver.BAD_LOSSES.LARGEST):
        raise ConfigError(
            f"SOLVER.BAD_LOSSES.LARGEST is {solver.BAD_LOSSES.LARGEST}; it is more than 1 time the "
            "median of the losses before"
        )
    if test.PATIENCE and not (test.BEST_METRIC and test.EVAL_PERIOD > 0):
        raise ConfigError(
            f"TEST.PATIENCE is {test.PATIENCE}; it needs TEST.BEST_METRIC, such as segm/AP, and "
            "TEST.EVAL_PERIOD"
        )
    if test.BEST_METRIC.startswith("validation/") and not test.LOSS:
        raise ConfigError(f"TEST.BEST_METRIC is {test.BEST_METRIC}; it needs TEST.LOSS True")
    if (test.BEST_METRIC or test.LOSS) and not cfg.DATASETS.TEST:
        raise ConfigError(
            "DATASETS.TEST is empty; TEST.BEST_METRIC and TEST.LOSS are of its images"
        )


def _check_count(key: str, value: Any) -> None:
    if value < 0:
        raise ConfigError(f"{key} is {value}; it cannot be below 0")
