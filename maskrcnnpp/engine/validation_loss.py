"""The losses of training, on images that are not trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from torch.nn.modules.batchnorm import _NormBase

_SEED = 0


@torch.no_grad()
def validation_losses(
    model: torch.nn.Module, loader: Iterable[list[Mapping[str, Any]]]
) -> dict[str, float]:
    """Mean of each loss over the images, and their sum ``total_loss``.

    What the model draws, such as which RoIs, is the same in every call. Batch statistics stay.
    Deep supervision takes its depths in turn, a batch each.

    Args:
        model: not wrapped for several processes.
        loader: of images with their truth, of this process.

    Returns:
        in the main process; empty in the others.
    """
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    with _in_training_mode(model), EventStorage() as storage:
        for number, batch in enumerate(loader):
            storage.iter = number
            seed_all_rng(_SEED + number)
            for name, loss in model(batch).items():
                sums[name] += float(loss) * len(batch)
                counts[name] += len(batch)
    gathered = comm.gather((dict(sums), dict(counts)))
    if not comm.is_main_process():
        return {}
    names = {name: None for of_process, _ in gathered for name in of_process}
    means = {
        name: sum(s.get(name, 0.0) for s, _ in gathered) / sum(c.get(name, 0) for _, c in gathered)
        for name in names
    }
    return {**means, "total_loss": sum(means.values())}


@contextmanager
def _in_training_mode(model: torch.nn.Module) -> Iterator[None]:
    """Let a model compute losses without changing the statistics of batch normalization."""
    before = {module: module.training for module in model.modules()}
    model.train()
    for module in before:
        if isinstance(module, _NormBase):
            module.eval()
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode
