"""The deep-supervision mask head, and the RoI heads that feed it the pyramid of every depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import fvcore.nn.weight_init as weight_init
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, cat
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import (
    ROI_HEADS_REGISTRY,
    CascadeROIHeads,
    StandardROIHeads,
    select_foreground_proposals,
)
from detectron2.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    MaskRCNNConvUpsampleHead,
    mask_rcnn_inference,
)
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import (
    FINE_LEVEL,
    deep_supervision_config,
    feature_name,
    shallower_depths,
)
from maskrcnnpp.modeling.losses import MASK_LOSSES
from maskrcnnpp.modeling.mask_boxes import (
    masks_in_boxes,
    scored_by_masks,
    set_boxes_of_masks,
    widened,
    with_wider_boxes,
)

VIS_MASKS = 8

#: RoI features by depth; None is the full depth.
DepthFeatures = dict[int | None, torch.Tensor]
#: The RoIs of each image, by depth.
DepthInstances = dict[int | None, list[Instances]]


def mask_targets(instances: list[Instances], side: int) -> torch.Tensor:
    """Ground truth cropped to the proposals, as the stock mask loss takes it.

    Args:
        instances: foreground proposals with ``gt_masks`` and ``proposal_boxes``.
        side: height and width of the mask logits.

    Returns:
        float32, shape (B, side, side), values 0 and 1; B is the sum of proposals.
    """
    return cat(
        [
            x.gt_masks.crop_and_resize(x.proposal_boxes.tensor, side).to(x.gt_classes.device)
            for x in instances
        ]
    ).to(dtype=torch.float32)


def select_class(logits: torch.Tensor, instances: list[Instances]) -> torch.Tensor:
    """Logits of each RoI's ground-truth class: (B, C, M, M) to (B, M, M)."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    classes = cat([x.gt_classes for x in instances])
    return logits[torch.arange(len(classes), device=logits.device), classes]


def _log_accuracy(logits: torch.Tensor, targets: torch.Tensor) -> None:
    """Put the scalars that the stock mask loss puts."""
    foreground = targets > 0.5
    wrong = (logits > 0) != foreground
    storage = get_event_storage()
    storage.put_scalar("mask_rcnn/accuracy", 1 - wrong.float().mean().item())
    for name, where in (("false_positive", ~foreground), ("false_negative", foreground)):
        rate = (wrong & where).sum().item() / max(where.sum().item(), 1)
        storage.put_scalar(f"mask_rcnn/{name}", rate)


def _log_masks(name: str, logits: torch.Tensor, targets: torch.Tensor) -> None:
    """Put one image: predicted masks in the upper row, the truth below them."""
    rows = [torch.cat(list(x[:VIS_MASKS]), dim=1) for x in (logits.sigmoid(), targets)]
    get_event_storage().put_image(f"{name}: prediction, truth", torch.cat(rows)[None])


@ROI_MASK_HEAD_REGISTRY.register()
class DeepSupervisionMaskHead(MaskRCNNConvUpsampleHead):
    """Detectron2's mask head, supervised on the pyramid of every depth.

    One set of layers, with the stock names, serves all depths. In training each depth has a loss
    of its own: ``loss_mask`` of the full depth in every iteration, ``loss_mask_d1``, ... of the
    shallower ones as the backbone hands them on (UNet++, IEEE TMI 2019). At
    inference the probabilities of all depths it is given are averaged (ensemble mode); in pruned
    mode it is given one.

    With one pyramid (a stock FPN, or depth 1) it is the stock head with a choice of loss.
    """

    learns_from_every_depth = True

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        loss: str = "cross_entropy_dice",
        shallow_weights: Sequence[float] = (1.0, 1.0),
        **kwargs: Any,
    ) -> None:
        """
        Args:
            input_shape: of the pooled RoI features.
            loss: a key of :data:`maskrcnnpp.modeling.losses.MASK_LOSSES`.
            shallow_weights: weight of depth 1, 2, ... relative to the full depth's loss.
            kwargs: those of :class:`detectron2.modeling.roi_heads.MaskRCNNConvUpsampleHead`.
        """
        super().__init__(input_shape, **kwargs)
        self._mask_loss = MASK_LOSSES[loss]
        self._shallow_weights = tuple(shallow_weights)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        deep = deep_supervision_config(cfg)
        if not isinstance(input_shape, ShapeSpec):
            raise ConfigError(
                "MODEL.ROI_MASK_HEAD.POOLER_TYPE is empty; DeepSupervisionMaskHead reads pooled "
                "RoI features: set it to ROIAlignV2"
            )
        ret = super().from_config(cfg, input_shape)
        ret.update(loss=deep.LOSS, shallow_weights=deep.WEIGHTS)
        return ret

    def forward(
        self,
        x: torch.Tensor | DepthFeatures,
        instances: list[Instances] | DepthInstances,
    ) -> dict[str, torch.Tensor] | list[Instances]:
        """
        Args:
            x: pooled RoI features, shape (B, C, S, S), or such a tensor for each depth.
            instances: as for the stock mask head; B is the sum of their lengths. In training
                each depth can have RoIs of its own.

        Returns:
            In training, the loss of each depth by name. At inference ``instances`` with
            ``pred_masks`` of shape (b, 1, 2S, 2S), probabilities.
        """
        by_depth = x if isinstance(x, dict) else {None: x}
        # all depths in one batch: one pass through the layers
        logits = self.layers(cat(list(by_depth.values())))
        # not len(): a traced model would be bound to these numbers of objects
        logits = logits.split([features.shape[0] for features in by_depth.values()])
        logits_by_depth = dict(zip(by_depth, logits))
        if not self.training:
            found: Any = instances  # by depth in training only
            self.inference(list(logits), found)
            return found
        losses = {}
        for depth, depth_logits in logits_by_depth.items():
            depth_instances = instances[depth] if isinstance(instances, dict) else instances
            name = "loss_mask" if depth is None else f"loss_mask_d{depth}"
            losses[name] = self.loss(depth_logits, depth_instances, depth, name)
        return losses

    def loss(
        self, logits: torch.Tensor, instances: list[Instances], depth: int | None, name: str
    ) -> torch.Tensor:
        """Weighted loss of one depth; zero, but with a gradient, where there is no foreground."""
        instances = [x for x in instances if len(x) > 0]
        if not instances:
            return logits.sum() * 0
        targets = mask_targets(instances, logits.shape[-1])
        logits = select_class(logits, instances).float()
        with torch.no_grad():
            if depth is None:
                _log_accuracy(logits, targets)
            if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
                _log_masks(name, logits, targets)
        weight = 1.0 if depth is None else self._shallow_weights[depth - 1]
        return self._mask_loss(logits, targets) * (weight * self.loss_weight)

    def inference(self, logits: list[torch.Tensor], instances: list[Instances]) -> None:
        """Set ``pred_masks`` to the mean of the depths' probabilities."""
        masks = []
        for depth_logits in logits:
            mask_rcnn_inference(depth_logits, instances)
            masks.append([x.pred_masks for x in instances])
        for x, *of_depths in zip(instances, *masks):
            x.pred_masks = sum(of_depths) / len(of_depths)


class FinePooler(nn.Module):
    """Pools the usual levels, and adds what it pools from level p1, brought to their width."""

    def __init__(self, usual: ROIPooler, fine_pooler: ROIPooler, fine: nn.Module) -> None:
        super().__init__()
        self.usual = usual
        self.fine_pooler = fine_pooler
        self.fine = fine

    def forward(self, features: list[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        """
        Args:
            features: level p1, and then those that ``usual`` pools.
            boxes: of each image.

        Returns:
            Shape (B, C, S, S); B is the number of all boxes.
        """
        finest, *others = features
        return self.usual(others, boxes) + self.fine(self.fine_pooler([finest], boxes))


@ROI_HEADS_REGISTRY.register()
class NestedROIHeads(StandardROIHeads):
    """Stock RoI heads that pool mask features from every pyramid the backbone hands on.

    Where the backbone has level p1, the last node of the row of stride 2, its features are pooled
    too, brought to the width of the others (1x1) and added to them: for masks, for boxes, or both.

    With a backbone of one pyramid and no p1, or without masks, they are the stock heads, unless a
    margin or scores of masks are asked for. Boxes and keypoints are those of the class beside it
    in a subclass, and read the full pyramid.
    """

    pools_every_depth = True

    @configurable
    def __init__(
        self,
        *,
        shallow_roi_fraction: float = 1.0,
        mask_margin: float = 0.0,
        score_masks: bool = False,
        mask_fine_pooler: ROIPooler | None = None,
        mask_fine: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            shallow_roi_fraction: part of an image's foreground RoIs from which the shallower
                depths learn, 0..1.
            mask_margin: masks are looked for in boxes that are wider by this part of their side,
                on each side; boxes are then those of the masks.
            score_masks: the scores of objects are multiplied by the mean probability of the
                pixels of their masks.
            mask_fine_pooler: pools level p1; None where there is none.
            mask_fine: (B, C of p1, S, S) to (B, C of the other levels, S, S).
            kwargs: those of :class:`detectron2.modeling.StandardROIHeads`.
        """
        super().__init__(**kwargs)
        self.shallow_roi_fraction = shallow_roi_fraction
        self.mask_margin = mask_margin
        self.score_masks = score_masks
        self.mask_fine_pooler = mask_fine_pooler
        self.mask_fine = mask_fine

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super().from_config(cfg, input_shape)
        ret["shallow_roi_fraction"] = deep_supervision_config(cfg).ROI_FRACTION
        ret["mask_margin"] = cfg.MODEL.ROI_MASK_HEAD.BOX_MARGIN
        ret["score_masks"] = cfg.MODEL.ROI_MASK_HEAD.SCORE_MASKS
        return ret

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super()._init_box_head(cfg, input_shape)
        _set_canonical_size(ret["box_pooler"], cfg)
        if FINE_LEVEL in input_shape and "boxes" in cfg.MODEL.NESTED_FPN.FINE_LEVEL_READERS:
            fine = _fine_pooling(cfg, input_shape, cfg.MODEL.ROI_BOX_HEAD)
            ret["box_pooler"] = FinePooler(ret["box_pooler"], *fine)
            ret["box_in_features"] = [FINE_LEVEL, *ret["box_in_features"]]
        return ret

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super()._init_mask_head(cfg, input_shape)
        if ret and ret["mask_pooler"] is not None:
            _set_canonical_size(ret["mask_pooler"], cfg)
            if FINE_LEVEL in input_shape and "masks" in cfg.MODEL.NESTED_FPN.FINE_LEVEL_READERS:
                fine = _fine_pooling(cfg, input_shape, cfg.MODEL.ROI_MASK_HEAD)
                ret["mask_fine_pooler"], ret["mask_fine"] = fine
        return ret

    def _forward_mask(
        self, features: dict[str, torch.Tensor], instances: list[Instances]
    ) -> dict[str, torch.Tensor] | list[Instances]:
        if not self.mask_on or self.mask_pooler is None:
            return super()._forward_mask(features, instances)
        depths = shallower_depths(features)
        if not self.training:
            boxes = [Boxes(widened(x.pred_boxes.tensor, self.mask_margin)) for x in instances]
            pooled = {d: self._pool_masks(features, boxes, d) for d in (None, *depths)}
            found = self.mask_head(pooled if depths else pooled[None], instances)
            if self.mask_margin:
                for x in found:
                    set_boxes_of_masks(x, self.mask_margin)
            return found

        foreground, _ = select_foreground_proposals(instances, self.num_classes)
        if self.mask_margin:
            foreground = [with_wider_boxes(x, self.mask_margin) for x in foreground]
        # proposals come in random order: the first ones are a random choice
        some = [x[: math.ceil(len(x) * self.shallow_roi_fraction)] for x in foreground]
        by_depth: DepthInstances = {None: foreground, **dict.fromkeys(depths, some)}
        pooled = {
            depth: self._pool_masks(features, [x.proposal_boxes for x in of_depth], depth)
            for depth, of_depth in by_depth.items()
        }
        if not depths:
            return self.mask_head(pooled[None], foreground)
        return self.mask_head(pooled, by_depth)

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Detectron2's. Boxes are those of the masks with a margin; masks may change scores."""
        if self.training or not (self.mask_margin or self.score_masks):
            return super().forward(images, features, proposals, targets)
        # Detectron2's calls forward_with_given_boxes, whose boxes and scores stay
        found: Any = self._forward_box(features, proposals)
        found = self._forward_mask(features, self._forward_keypoint(features, found))
        if self.score_masks and self.mask_on:
            found = [scored_by_masks(x) for x in found]
        return found, {}

    def forward_with_given_boxes(
        self, features: dict[str, torch.Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Detectron2's: boxes and scores stay, and masks are cut to the boxes."""
        given = [x.pred_boxes for x in instances]
        found = super().forward_with_given_boxes(features, instances)
        if self.mask_on and self.mask_margin:
            for x, boxes in zip(found, given):
                x.pred_masks = masks_in_boxes(x.pred_masks, x.pred_boxes.tensor, boxes.tensor)
                x.pred_boxes = boxes
        return found

    def _pool_masks(
        self, features: dict[str, torch.Tensor], boxes: list[Boxes], depth: int | None
    ) -> torch.Tensor:
        pyramid = [features[feature_name(level, depth)] for level in self.mask_in_features]
        pooled = self.mask_pooler(pyramid, boxes)
        if self.mask_fine_pooler is not None:
            assert self.mask_fine is not None  # they come together
            fine = features[feature_name(FINE_LEVEL, depth)]
            pooled = pooled + self.mask_fine(self.mask_fine_pooler([fine], boxes))
        return pooled


@ROI_HEADS_REGISTRY.register()
class NestedCascadeROIHeads(NestedROIHeads, CascadeROIHeads):
    """:class:`NestedROIHeads` with the boxes of Detectron2's ``CascadeROIHeads``."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
            raise ConfigError(
                "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG is False; the boxes of a cascade are of "
                "no class: set it to True"
            )
        return super().from_config(cfg, input_shape)


def _set_canonical_size(pooler: ROIPooler, cfg: CfgNode) -> None:
    # StandardROIHeads builds its poolers with Detectron2's default, and has no argument for it
    pooler.canonical_box_size = cfg.MODEL.ROI_HEADS.CANONICAL_BOX_SIZE


def _fine_pooling(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec], head: CfgNode
) -> tuple[ROIPooler, nn.Module]:
    """Pooler of level p1 for a head, and the 1x1 convolution to the width of the other levels."""
    fine = input_shape[FINE_LEVEL]
    pooler = ROIPooler(
        output_size=head.POOLER_RESOLUTION,
        scales=[1 / fine.stride],
        sampling_ratio=cfg.MODEL.NESTED_FPN.FINE_SAMPLING_RATIO,
        pooler_type=head.POOLER_TYPE,
    )
    width = input_shape[cfg.MODEL.ROI_HEADS.IN_FEATURES[0]].channels
    convolution = Conv2d(fine.channels, width, kernel_size=1)
    weight_init.c2_xavier_fill(convolution)
    return pooler, convolution
