"""Any Mask R-CNN, with RLE-native masks at inference."""

from __future__ import annotations

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from maskrcnnpp.masks.paste import RleMasks, encode_masks


class RleRCNN(nn.Module):
    """A ``GeneralizedRCNN`` whose ``pred_masks`` are :class:`RleMasks`, and not N full images.

    The rest is what the model gives: boxes, scores, classes, their order; on the CPU also every
    pixel of the masks.
    """

    def __init__(self, model: GeneralizedRCNN) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # evaluation restores the mode that it finds here

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """As the model's in evaluation mode; sizes of the outputs are ``height`` and ``width``.

        Args:
            batched_inputs: those of the model.

        Returns:
            a dict with ``instances`` for each image.
        """
        outputs = self.model.inference(batched_inputs, do_postprocess=False)
        return [
            {"instances": to_rle(instances, *_output_size(entry, instances))}
            for entry, instances in zip(batched_inputs, outputs)
        ]


def with_rle_masks(model: nn.Module) -> nn.Module:
    """:class:`RleRCNN` of a Mask R-CNN, also if wrapped for several GPUs; others as they are.

    Others are also subclasses of GeneralizedRCNN that predict more than instances.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    is_plain = getattr(type(inner), "inference", None) is GeneralizedRCNN.inference
    return RleRCNN(inner) if is_plain else model


def to_rle(instances: Instances, height: int, width: int) -> Instances:
    """Detectron2's ``detector_postprocess`` with masks as RLE.

    Args:
        instances: of the image as the model saw it; ``pred_masks``, if any, (N, 1, M, M).
        height, width: of the output, pixels.

    Returns:
        with boxes in pixels of the output, without empty ones.
    """
    masks = instances.get("pred_masks") if instances.has("pred_masks") else None
    if masks is None:
        return detector_postprocess(instances, height, width)
    # boxes are scaled, clipped and dropped where Detectron2 does it; the rows say which are left
    rest = Instances(instances.image_size, **instances.get_fields())
    rest.remove("pred_masks")
    rest.set("_rows", torch.arange(len(rest), device=masks.device))
    rest = detector_postprocess(rest, height, width)
    rows = rest.get("_rows")
    rest.remove("_rows")
    rles = encode_masks(masks[rows], rest.pred_boxes, height, width)
    rest.set("pred_masks", RleMasks(rles, height, width))
    return rest


def _output_size(entry: dict, instances: Instances) -> tuple[int, int]:
    height, width = instances.image_size
    return entry.get("height", height), entry.get("width", width)
