"""Optimizer of a resumed training: what comes from its checkpoint, and what from its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from maskrcnnpp.errors import ConfigError

# that only one kind of optimizer has, by the value of SOLVER.OPTIMIZER
_MARKS = {"SGD": "momentum", "AdamW": "betas"}


def optimizer_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the weights in the order in which the optimizer's state numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(x)] for group in optimizer.param_groups for x in group["params"]]


def optimizer_state(
    saved: Mapping[str, Any],
    saved_names: Sequence[str] | None,
    optimizer: torch.optim.Optimizer,
    names: Sequence[str],
) -> dict[str, Any]:
    """The state of a checkpoint's optimizer, with the settings that the config gives now.

    PyTorch's own would also bring back the learning rate, weight decay and momentum of the
    checkpoint. Weights are found by their names: which of them share a group, and so their
    numbers, depends on the settings.

    Args:
        saved: ``state_dict`` of the optimizer in the checkpoint.
        saved_names: of its weights, see :func:`optimizer_names`; None for a checkpoint without.
        optimizer: as the config has it.
        names: of its weights.

    Raises:
        ConfigError: the checkpoint is of another kind of optimizer, or has no names and other
            groups.
    """
    now = optimizer.state_dict()
    groups = saved["param_groups"]
    for kind, mark in _MARKS.items():
        if mark in groups[0] and mark not in now["param_groups"][0]:
            raise ConfigError(
                f"its optimizer is {kind}, whose state no other can use: set SOLVER.OPTIMIZER "
                f"{kind}, or begin anew with MODEL.WEIGHTS and another OUTPUT_DIR"
            )
    if saved_names is None:
        if _sizes(groups) != _sizes(now["param_groups"]):
            raise ConfigError(
                "SOLVER.WEIGHT_DECAY, WEIGHT_DECAY_NORM, WEIGHT_DECAY_BIAS, BIAS_LR_FACTOR or "
                "MODEL.BACKBONE.FREEZE_AT changed since it was saved, which this old checkpoint "
                "does not allow: set them as they were"
            )
        saved_names = names
    of_name = dict(zip(saved_names, range(len(saved_names))))
    state = {
        number: saved["state"][of_name[name]]
        for number, name in enumerate(names)
        if of_name.get(name) in saved["state"]
    }
    return {"state": state, "param_groups": now["param_groups"]}


def _sizes(groups: Sequence[Mapping[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]


def schedule_anew(
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    base_lrs: Sequence[float],
) -> None:
    """Set the learning rate that the config's schedule has where the checkpoint ends.

    Args:
        scheduler: one of Detectron2's that knows how far the training is.
        base_lrs: those of the config, by the optimizer's groups.
    """
    scheduler.base_lrs = list(base_lrs)
    for group, rate in zip(optimizer.param_groups, scheduler.get_lr()):
        group["lr"] = rate
