"""Averages of the weights of a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.engine import HookBase
from torch.optim.swa_utils import AveragedModel


class WeightAverage(HookBase):
    """Exponential moving average of the weights, for evaluation and for use.

    Young averages follow faster: after n updates the decay is at most (1 + n) / (10 + n), so that
    short trainings do not end with the weights that they began with.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        """
        Args:
            model: that is trained, not wrapped.
            decay: part of the average that stays in an iteration, such as 0.999.
        """
        self._model = model
        self._averaged = AveragedModel(model, multi_avg_fn=_averaging(decay))
        self._averaged.eval()

    @property
    def model(self) -> torch.nn.Module:
        """The model with the averaged weights; to be read, or loaded before the training."""
        return self._averaged.module

    def begin(self) -> None:
        """Begin with the weights that the model has."""
        self.model.load_state_dict(self._model.state_dict())
        self._averaged.n_averaged.fill_(1)

    def before_train(self) -> None:
        if self._averaged.n_averaged == 0:
            self.begin()

    def after_step(self) -> None:
        self._averaged.update_parameters(self._model)

    def state_dict(self) -> dict[str, int]:
        # the weights are in the checkpoint as its model
        return {"updates": int(self._averaged.n_averaged)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._averaged.n_averaged.fill_(state["updates"])


def _averaging(decay: float):
    @torch.no_grad()
    def update(
        averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], updates: torch.Tensor
    ) -> None:
        count = float(updates)
        part = 1 - min(decay, (1 + count) / (10 + count))
        for ours, theirs in zip(averaged, current):
            ours.lerp_(theirs.to(ours.dtype), part)

    return update
