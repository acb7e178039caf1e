"""Checkpoints of Detectron2, read and loaded with errors for the reader."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import check_grid_weights

logger = logging.getLogger(__name__)

# of a model that was saved inside DistributedDataParallel
_WRAPPED = "module."
# Detectron2's name, and that of Caffe2 in which it publishes ImageNet weights
_FIRST_CONVOLUTIONS = (".stem.conv1.weight", ".conv1_w")


class Checkpointer(DetectionCheckpointer):
    """Detectron2's, that refuses weights of another nested pyramid.

    Detectron2's leaves weights that are missing or of another shape at random, and only logs it.
    ``unfilled`` has the names of these after a file was loaded. The first convolution of a model
    with another number of channels is made of that for red, green and blue.
    """

    unfilled: Sequence[str] = ()

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        # there is no public place between reading a file and leaving out what does not fit
        check_grid_weights(_unwrapped(checkpoint["model"]), self.model.state_dict())
        _adapt_first_convolution(checkpoint["model"], self.model.state_dict())
        incompatible = super()._load_model(checkpoint)
        misshapen = [name for name, *_ in incompatible.incorrect_shapes]
        self.unfilled = [*misshapen, *incompatible.missing_keys]
        return incompatible


def _adapt_first_convolution(weights: dict[str, Any], model: Mapping[str, torch.Tensor]) -> None:
    """Weights for three channels as those for as many as the model takes, in place.

    Each is their mean, scaled so that a grey image gives the same response.
    """
    wanted = [tensor for name, tensor in model.items() if name.endswith(_FIRST_CONVOLUTIONS[0])]
    if len(wanted) != 1:
        return
    shape = tuple(wanted[0].shape)
    for name, weight in weights.items():
        if not f".{name}".endswith(_FIRST_CONVOLUTIONS):
            continue
        found = tuple(weight.shape)
        rest = (*found[:1], *found[2:])
        if len(found) == 4 and found[1] == 3 != shape[1] and rest == (*shape[:1], *shape[2:]):
            mean = torch.as_tensor(weight).mean(dim=1, keepdim=True)
            weights[name] = mean.repeat(1, shape[1], 1, 1) * (3 / shape[1])
            logger.info("%s of 3 channels is adapted to %d by its mean", name, shape[1])


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint of Detectron2 or a plain state dict, on the CPU. No code in it is run.

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
    if isinstance(checkpoint, dict) and "model" not in checkpoint:
        checkpoint = {"model": checkpoint}
    weights = checkpoint["model"] if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(hasattr(x, "shape") for x in weights.values()):
        raise ConfigError(f"{path} is no checkpoint of a training: it holds no weights by name")
    return {**checkpoint, "model": _unwrapped(weights)}


def load_weights(load: Callable[..., Any], cfg: CfgNode, *, resume: bool) -> None:
    """Call ``load(resume=resume)``, and say which file it was when that cannot be loaded.

    Args:
        load: such as ``DefaultTrainer.resume_or_load``; loads ``MODEL.WEIGHTS`` or, with
            ``resume``, the last checkpoint of OUTPUT_DIR.

    Raises:
        ConfigError: the weights are no checkpoint, or of another nested pyramid.
    """
    try:
        load(resume=resume)
    except (EOFError, OSError, pickle.UnpicklingError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        which = f"the last checkpoint in {cfg.OUTPUT_DIR}, or " if resume else ""
        raise ConfigError(
            f"{which}MODEL.WEIGHTS ({cfg.MODEL.WEIGHTS}) cannot be loaded: {reason}"
        ) from error


def _unwrapped(weights: Mapping[str, Any]) -> dict[str, Any]:
    if weights and all(name.startswith(_WRAPPED) for name in weights):
        return {name.removeprefix(_WRAPPED): x for name, x in weights.items()}
    return dict(weights)
