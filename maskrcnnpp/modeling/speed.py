"""The same model, computed otherwise."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from torch import nn

# what takes and gives tensors only; of the rest torch.compile would make many small pieces
_COMPILED = ("backbone", "proposal_generator.rpn_head", "roi_heads.box_head")


def apply_memory_format_and_compile(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """The model as ``MODEL.CHANNELS_LAST`` and ``MODEL.COMPILE`` say, in place."""
    if cfg.MODEL.CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)
    if cfg.MODEL.COMPILE:
        modules = dict(model.named_modules())
        for name in _COMPILED:
            if name in modules:
                modules[name].compile()
    return model
