"""Non-maximum suppression of each image of a batch, in a form that can be traced."""

from __future__ import annotations

import sys
from typing import Any

import torch

NONE = float("-inf")  #: score of a place that holds no box


def suppress(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Scores with those of suppressed boxes set to :data:`NONE`.

    torchvision's ``batched_nms`` moves the boxes of each group apart when it is traced, which
    rounds their coordinates; here each row is suppressed by itself, as in eager Detectron2.

    Args:
        boxes: (N, K, 4), N rows that do not suppress each other.
        scores: (N, K); :data:`NONE` marks places that do not count.
        threshold: intersection over union above which the lower score is suppressed.

    Returns:
        (N, K).
    """
    if torch.onnx.is_in_onnx_export():
        kept = _OnnxNms.apply(boxes, scores, threshold)
    else:
        kept = _kept(boxes, scores, threshold)
    places = (kept[:, 0], kept[:, 1])
    return torch.full_like(scores, NONE).index_put(places, scores[places])


@torch.jit.script_if_tracing  # a loop over images, of which a trace would keep the number
def _kept(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Row and place of each box that is kept, int64 (M, 2)."""
    found = [torch.zeros((0, 2), dtype=torch.int64, device=boxes.device)]
    for row in range(boxes.shape[0]):
        places = torch.nonzero(scores[row] > float("-inf")).flatten()
        best = torch.ops.torchvision.nms(boxes[row][places], scores[row][places], threshold)
        found.append(torch.stack([torch.full_like(best, row), places[best]], dim=1))
    return torch.cat(found)


class _OnnxNms(torch.autograd.Function):
    """ONNX's NonMaxSuppression, which takes a batch itself."""

    @staticmethod
    def forward(
        ctx: Any, boxes: torch.Tensor, scores: torch.Tensor, threshold: float
    ) -> torch.Tensor:
        return _kept.__wrapped__(boxes, scores, threshold)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, threshold: float) -> Any:
        def constant(value: Any, dtype: torch.dtype) -> Any:
            return g.op("Constant", value_t=torch.tensor(value, dtype=dtype))

        kept = g.op(
            "NonMaxSuppression",
            boxes,
            g.op("Unsqueeze", scores, constant([1], torch.int64)),  # of one class
            constant([sys.maxsize], torch.int64),
            constant([threshold], torch.float32),
            constant([torch.finfo(torch.float32).min], torch.float32),
        )
        return g.op("Gather", kept, constant([0, 2], torch.int64), axis_i=1)
