"""One iteration of a training."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import get_event_storage
from torch.nn.parallel import DistributedDataParallel

from maskrcnnpp.data.loader import TrainLoader, seed_of
from maskrcnnpp.engine.loss_guard import LossGuard
from maskrcnnpp.engine.processes import any_process
from maskrcnnpp.errors import ConfigError

_PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}

Batch = Sequence[Mapping[str, Any]]


class _BadLoss(Exception):
    """An iteration that would spoil the weights, here or in another process."""

    def __init__(self, losses: Mapping[str, float], batch: Batch, is_here: bool) -> None:
        super().__init__()
        self.losses = losses
        self.batch = batch
        self.is_here = is_here


class TrainStep(SimpleTrainer):
    """Detectron2's ``SimpleTrainer`` and ``AMPTrainer`` in one, on any device, repeatable.

    What the model draws depends on the seed, the iteration and the process only, so that nothing
    of a generator has to be kept for a restart. A loss that is not finite is seen before it
    reaches the weights.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        data_loader: TrainLoader,
        optimizer: torch.optim.Optimizer,
        guard: LossGuard,
        *,
        parts: int = 1,
        precision: torch.dtype | None = None,
    ) -> None:
        """
        Args:
            model, data_loader, optimizer: see ``SimpleTrainer``.
            guard: tells which losses are bad.
            parts: into which a batch is divided, to be computed one after another with the
                memory of one. The gradient is the mean of theirs.
            precision: of mixed precision, float16 (on GPUs) or bfloat16; None computes in float32.
        """
        super().__init__(model, data_loader, optimizer)
        self.guard = guard
        self._device = next(model.parameters()).device
        self._parts = parts
        self._precision = precision
        is_scaled = precision == torch.float16
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=is_scaled)

    def run_step(self) -> None:
        begin = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - begin
        seed_all_rng(seed_of(self.data_loader.seed, self.iter, comm.get_rank()))
        self.optimizer.zero_grad()
        try:
            losses = self._backward(batch)
            norm = self._checked_norm(batch)
        except _BadLoss as bad:
            self.optimizer.zero_grad()
            self.guard.leave_out(self.iter, bad.losses, bad.batch, is_here=bad.is_here)
            return
        self.guard.accept({name: loss.item() for name, loss in losses.items()})
        self.write_metrics(losses, data_time, self.iter)
        get_event_storage().put_scalar("gradient_norm", norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def _backward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Gradients of a batch, part by part; the mean of each loss.

        Raises:
            _BadLoss: in any process.
        """
        sums: dict[str, torch.Tensor] = {}
        for number in range(self._parts):
            part = batch[number :: self._parts]
            # the processes exchange gradients once, with the last part
            is_shared = number == self._parts - 1
            with self._quietly(is_shared):
                losses = self._checked_losses(part)
                loss = sum(losses.values()) / self._parts
                self._scaler.scale(loss).backward()
            for name, value in losses.items():
                value = value.detach().float() / self._parts
                sums[name] = sums[name] + value if name in sums else value
        self.after_backward()
        return sums

    def _checked_losses(self, part: Batch) -> dict[str, torch.Tensor]:
        """Before the backward pass, which the processes go through together."""
        enabled = self._precision is not None
        losses: dict[str, torch.Tensor] = {}
        try:
            with torch.autocast(self._device.type, dtype=self._precision, enabled=enabled):
                losses = self.model(part)
            values = {name: loss.item() for name, loss in losses.items()}
        except FloatingPointError:  # of Detectron2, where boxes are not finite
            values = {"boxes": math.nan}
        is_bad = self.guard.is_bad(values)
        if any_process(is_bad, self._device):
            raise _BadLoss(values, part, is_bad)
        return losses

    def _checked_norm(self, batch: Batch) -> float:
        """Norm of the gradient, which all processes have the same."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(self.optimizer)
        there = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(there).item() if there else 0.0
        # float16 has infinite gradients now and then: its scaler leaves these out itself
        if not math.isfinite(norm) and not self._scaler.is_enabled():
            raise _BadLoss({"gradient norm": norm}, batch, is_here=True)
        return norm

    def _quietly(self, is_shared: bool) -> contextlib.AbstractContextManager:
        is_one_of_many = isinstance(self.model, DistributedDataParallel)
        return (
            self.model.no_sync() if is_one_of_many and not is_shared else contextlib.nullcontext()
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "scaler": self._scaler.state_dict(),
            "guard": self.guard.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        # of checkpoints that Detectron2 wrote neither is there
        if state_dict.get("scaler"):
            self._scaler.load_state_dict(state_dict["scaler"])
        if "guard" in state_dict:
            self.guard.load_state_dict(state_dict["guard"])


def build_step(
    cfg: CfgNode,
    model: torch.nn.Module,
    loader: TrainLoader,
    optimizer: torch.optim.Optimizer,
) -> TrainStep:
    """The step of a config.

    Raises:
        ConfigError: the batch cannot be divided into ``SOLVER.ACCUMULATE`` parts, or the precision
            is unknown.
    """
    parts = cfg.SOLVER.ACCUMULATE
    images = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    if parts < 1 or images % parts:
        raise ConfigError(
            f"SOLVER.ACCUMULATE is {parts}; it has to divide the {images} images of a batch in "
            "each process"
        )
    precision = cfg.SOLVER.AMP.PRECISION
    if precision not in _PRECISIONS:
        known = " or ".join(_PRECISIONS)
        raise ConfigError(f"SOLVER.AMP.PRECISION is {precision!r}; it can be {known}")
    bad = cfg.SOLVER.BAD_LOSSES
    return TrainStep(
        model,
        loader,
        optimizer,
        LossGuard(cfg.OUTPUT_DIR, allowed=bad.SKIP, largest=bad.LARGEST),
        parts=parts,
        precision=_PRECISIONS[precision] if cfg.SOLVER.AMP.ENABLED else None,
    )
