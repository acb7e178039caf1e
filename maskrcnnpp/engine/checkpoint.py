"""Checkpoints of Detectron2, read and loaded with errors for the reader."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import check_grid_weights


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint of Detectron2, on the CPU. No code in it is run.

    Returns:
        With the state dict under "model".

    Raises:
        ConfigError: it is missing, or no checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path} is no checkpoint of a training: {reason}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model"), dict):
        raise ConfigError(f"{path} is no checkpoint of a training: it has no entry 'model'")
    return checkpoint


def load_weights(load: Callable[..., Any], model: nn.Module, cfg: CfgNode, *, resume: bool) -> None:
    """Call ``load(resume=resume)``, and say which file it was when that cannot be loaded.

    Args:
        load: such as ``DefaultTrainer.resume_or_load``; loads ``MODEL.WEIGHTS`` or, with
            ``resume``, the last checkpoint of OUTPUT_DIR.
        model: that it loads into.

    Raises:
        ConfigError: the weights are no checkpoint, or of another nested pyramid.
    """
    try:
        if not resume and cfg.MODEL.WEIGHTS.endswith(".pth") and os.path.isfile(cfg.MODEL.WEIGHTS):
            # before the loader, which leaves out what has another shape
            check_grid_weights(read_checkpoint(cfg.MODEL.WEIGHTS)["model"], model.state_dict())
        load(resume=resume)
    except (EOFError, OSError, pickle.UnpicklingError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        which = f"the last checkpoint in {cfg.OUTPUT_DIR}, or " if resume else ""
        raise ConfigError(
            f"{which}MODEL.WEIGHTS ({cfg.MODEL.WEIGHTS}) cannot be loaded: {reason}"
        ) from error
