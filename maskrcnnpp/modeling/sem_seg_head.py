"""The deeply supervised head of the U-Net family: a 1x1 convolution on X(0,d) of each depth d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import fvcore.nn.weight_init as weight_init
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.losses import SEMANTIC_LOSSES, ClassGroups
from maskrcnnpp.modeling.semantic_depths import (
    BACKBONE,
    is_unet,
    network_depth,
    semantic_depths,
    top_node,
)

ACTIVATIONS = ("sigmoid", "softmax")
_LABELS = 256  # of 8-bit label images


@SEM_SEG_HEADS_REGISTRY.register()
class DeepSupervisionSemSegHead(nn.Module):
    """Heads of several depths, of which the full depth's or their mean is the prediction.

    UNet++ (IEEE TMI 2019): a 1x1 convolution and a sigmoid on X(0,1) .. X(0,d). For Detectron2's
    ``SemanticSegmentor``; unlike its own head, this one gives probabilities.
    """

    _members: torch.Tensor

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        depth: int,
        num_classes: int,
        activation: str = "sigmoid",
        regions: Sequence[Sequence[int]] = (),
        loss: str = "cross_entropy_dice",
        shallow_weights: Mapping[int, float] | None = None,
        loss_weight: float = 1.0,
        ignore_value: int = 255,
    ) -> None:
        """
        Args:
            input_shape: of the features ``x_0_{d}``.
            depth: the full one.
            num_classes: channels of the prediction.
            activation: one of :data:`ACTIVATIONS`.
            regions: labels of each class, with "sigmoid"; none: label k + 1 of class k.
            loss: a key of :data:`maskrcnnpp.modeling.losses.SEMANTIC_LOSSES`.
            shallow_weights: of the losses of shallower depths, by depth.
            loss_weight: of all.
            ignore_value: label of pixels that do not count.
        """
        super().__init__()
        self.depth = depth
        self.ignore_value = ignore_value
        self.activation = activation
        self._weights = {**(shallow_weights or {}), depth: 1.0}
        self._loss = SEMANTIC_LOSSES[loss]
        self._loss_weight = loss_weight
        for d in self._weights:
            conv = Conv2d(input_shape[top_node(d)].channels, num_classes, kernel_size=1)
            weight_init.c2_msra_fill(conv)
            self.add_module(f"predictor_{d}", conv)
        labels_of_classes = class_labels(activation, num_classes, regions)
        members = torch.zeros(len(labels_of_classes), _LABELS)
        for row, labels in zip(members, labels_of_classes):
            row[list(labels)] = 1
        self.register_buffer("_members", members, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict:
        head = cfg.MODEL.SEM_SEG_HEAD
        if not is_unet(cfg):
            raise ConfigError(
                f"MODEL.BACKBONE.NAME is {cfg.MODEL.BACKBONE.NAME!r}; DeepSupervisionSemSegHead "
                f"reads the top row of {BACKBONE}"
            )
        check_classes(cfg)
        _, supervised, _ = semantic_depths(cfg)
        deep = head.DEEP_SUPERVISION
        return {
            "input_shape": input_shape,
            "depth": network_depth(cfg),
            "num_classes": head.NUM_CLASSES,
            "activation": head.ACTIVATION,
            "regions": head.REGIONS,
            "loss": deep.LOSS,
            "shallow_weights": {d: float(deep.WEIGHTS[d - 1]) for d in supervised},
            "loss_weight": head.LOSS_WEIGHT,
            "ignore_value": head.IGNORE_VALUE,
        }

    def forward(
        self, features: Mapping[str, torch.Tensor], targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor | None, dict[str, torch.Tensor]]:
        """
        Args:
            features: ``x_0_{d}``, each (N, channels, H, W).
            targets: in training, labels (N, H, W), integers.

        Returns:
            in training None and ``loss_sem_seg``, with ``loss_sem_seg_d1`` ... of shallower
            depths; otherwise probabilities (N, num_classes, H, W), float32, and nothing.
        """
        logits = {
            d: self.get_submodule(f"predictor_{d}")(features[top_node(d)]).float()
            for d in self._weights
            if top_node(d) in features
        }
        if self.training:
            assert targets is not None  # of SemanticSegmentor, in training
            return None, self._losses(logits, targets)
        probabilities = [
            x.sigmoid() if self.activation == "sigmoid" else x.softmax(dim=1)
            for x in logits.values()
        ]
        return torch.stack(probabilities).mean(dim=0), {}

    def _losses(
        self, logits: Mapping[int, torch.Tensor], targets: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        is_counted = targets != self.ignore_value
        labels = targets.long().where(is_counted, 0)
        losses = {}
        for d, x in logits.items():
            name = "loss_sem_seg" if d == self.depth else f"loss_sem_seg_d{d}"
            losses[name] = (
                self._loss_weight
                * self._weights[d]
                * self._loss(self._grouped(x, labels, is_counted))
            )
        return losses

    def _grouped(
        self, logits: torch.Tensor, labels: torch.Tensor, is_counted: torch.Tensor
    ) -> ClassGroups:
        if self.activation == "softmax":
            return ClassGroups.exclusive(logits, labels, is_counted)
        members = self._members[:, labels].transpose(0, 1)
        return ClassGroups.independent(logits, members, is_counted)


def has_deep_head(cfg: CfgNode) -> bool:
    """Whether the head of ``cfg`` is the one of this module, which gives probabilities."""
    return cfg.MODEL.SEM_SEG_HEAD.NAME == DeepSupervisionSemSegHead.__name__


def class_labels(
    activation: str, num_classes: int, regions: Sequence[Sequence[int]] = ()
) -> list[list[int]]:
    """Labels of the truth that each channel of the prediction stands for."""
    if regions:
        return [list(labels) for labels in regions]
    first = 0 if activation == "softmax" else 1
    return [[label] for label in range(first, first + num_classes)]


def check_classes(cfg: CfgNode) -> None:
    """Check the keys that say what the channels of the prediction stand for.

    Raises:
        ConfigError: a value is unknown or impossible, or they contradict each other.
    """
    head = cfg.MODEL.SEM_SEG_HEAD
    key, regions, classes = "MODEL.SEM_SEG_HEAD", list(head.REGIONS), head.NUM_CLASSES
    if head.ACTIVATION not in ACTIVATIONS:
        raise ConfigError(
            f"{key}.ACTIVATION is {head.ACTIVATION!r}; it can be one of {list(ACTIVATIONS)}"
        )
    fewest = 1 if head.ACTIVATION == "sigmoid" else 2
    if not fewest <= classes < _LABELS - 1:
        raise ConfigError(
            f"{key}.NUM_CLASSES is {classes}; with {head.ACTIVATION} it is from {fewest} to "
            f"{_LABELS - 2}"
        )
    if not (type(head.IGNORE_VALUE) is int and classes < head.IGNORE_VALUE < _LABELS):
        raise ConfigError(
            f"{key}.IGNORE_VALUE is {head.IGNORE_VALUE}; it is a label above those of the "
            f"{classes} classes, up to {_LABELS - 1}"
        )
    if not regions:
        return
    if head.ACTIVATION != "sigmoid":
        raise ConfigError(f"{key}.REGIONS is {regions}; they need {key}.ACTIVATION sigmoid")
    if len(regions) != classes:
        raise ConfigError(f"{key}.REGIONS has {len(regions)} entries and NUM_CLASSES is {classes}")
    for labels in regions:
        is_list = isinstance(labels, (list, tuple)) and len(labels) > 0
        if not is_list or not all(
            type(x) is int and 0 < x < _LABELS and x != head.IGNORE_VALUE for x in labels
        ):
            raise ConfigError(
                f"{key}.REGIONS is {regions}; each needs labels from 1 to {_LABELS - 1} that are "
                f"not IGNORE_VALUE, {head.IGNORE_VALUE}"
            )
