"""Advice where a training fails for lack of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from maskrcnnpp.errors import ConfigError, first_line

_LOWER = (
    "lower SOLVER.IMS_PER_BATCH, raise SOLVER.ACCUMULATE, take smaller crops (INPUT.CROP.SIZE) or "
    "images (INPUT.MIN_SIZE_TRAIN), fewer RoIs (MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE), or set "
    "SOLVER.AMP.ENABLED or CHECKPOINTING of MODEL.NESTED_FPN or NESTED_UNET True"
)
# PyTorch has no type of error for these
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
_WORKER_DIED = ("DataLoader worker", "killed by signal")


@contextlib.contextmanager
def advice_on_memory() -> Iterator[None]:
    """Turn errors for want of memory, and of loading processes that died, into messages.

    Raises:
        ConfigError: with the keys to change.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ConfigError(f"out of memory: {_LOWER} ({first_line(error)})") from error
    except RuntimeError as error:
        text = str(error)
        if all(word in text for word in _WORKER_DIED) or "exited unexpectedly" in text:
            raise ConfigError(
                "a process that loads images died, which mostly means that memory was full: lower "
                f"DATALOADER.NUM_WORKERS ({first_line(error)})"
            ) from error
        if any(word in text for word in _NO_MEMORY):
            raise ConfigError(f"out of memory: {_LOWER} ({first_line(error)})") from error
        raise
