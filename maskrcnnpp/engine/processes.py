"""Values on which the processes of one training agree."""

from __future__ import annotations

from typing import TypeVar

import torch
from detectron2.utils import comm

T = TypeVar("T")


def any_process(flag: bool, device: torch.device | str) -> bool:
    """Whether the flag is up in any process. All have to ask.

    Args:
        device: one on which the processes can exchange a number.
    """
    if comm.get_world_size() == 1:
        return flag
    there = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(there, torch.distributed.ReduceOp.MAX)
    return bool(there.item())


def broadcast_from_main(value: T) -> T:
    """The value that the main process has. All have to ask."""
    return comm.all_gather(value)[0]
