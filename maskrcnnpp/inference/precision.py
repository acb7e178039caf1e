"""Arithmetic of fewer bits, where it does no harm."""

from __future__ import annotations

import torch
from detectron2.modeling.poolers import ROIPooler
from torch import nn

#: By name; None is that of the weights.
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pool_in_float32(model: nn.Module) -> None:
    """Let RoIs be pooled at their exact places under autocast.

    Detectron2's ROIPooler rounds boxes to the precision of the features, in bfloat16 to multiples
    of 4 pixels at place 512.
    """
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_in_float32)


def _in_float32(_: nn.Module, args: tuple) -> tuple:
    features, boxes = args
    return [level.float() for level in features], boxes
