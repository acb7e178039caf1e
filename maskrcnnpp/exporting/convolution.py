"""Convolutions that pad more on one side, in a form that runtimes compute in one step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def convolve_multiples(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, conv: nn.Conv2d
) -> torch.Tensor:
    """Convolve as TensorFlow's "SAME" does with maps whose sides are multiples of the stride.

    The exported graphs fill images up to such sides. What is padded is then the same for all of
    them. PyTorch has no convolution that pads more on one side, ONNX has. Where padding is a step
    of its own, onnxruntime leaves its layout for it at each stride.

    Args:
        x: (N, C, H, W).
        weight: of the convolution, bias: too.
        conv: that has the strides.
    """
    margins = [
        max((kernel - 1) * dilation + 1 - stride, 0)
        for kernel, stride, dilation in zip(conv.kernel_size, conv.stride, conv.dilation)
    ]
    before = [margin // 2 for margin in margins]
    after = [margin - margin // 2 for margin in margins]
    if torch.onnx.is_in_onnx_export() and bias is not None:
        return _OnnxConv.apply(x, weight, bias, conv, [*before, *after])
    return _padded_convolution(x, weight, bias, conv, [*before, *after])


def _padded_convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    conv: nn.Conv2d,
    pads: list[int],
) -> torch.Tensor:
    top, left, bottom, right = pads
    padded = F.pad(x, [left, right, top, bottom])
    return F.conv2d(padded, weight, bias, conv.stride, 0, conv.dilation, conv.groups)


class _OnnxConv(torch.autograd.Function):
    """ONNX's Conv."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        conv: nn.Conv2d,
        pads: list[int],
    ) -> torch.Tensor:
        return _padded_convolution(x, weight, bias, conv, pads)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, conv: nn.Conv2d, pads: list[int]) -> Any:
        return g.op(
            "Conv",
            *(x, weight, bias),
            pads_i=pads,
            strides_i=list(conv.stride),
            dilations_i=list(conv.dilation),
            group_i=conv.groups,
        )
