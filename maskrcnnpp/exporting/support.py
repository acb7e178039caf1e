"""Checks that a model can be exported."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.config import CfgNode
from detectron2.layers import ROIAlign
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNOutputLayers, StandardROIHeads
from detectron2.modeling.roi_heads.mask_head import BaseMaskRCNNHead
from torch import nn

from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.mask_head import (
    DeepSupervisionMaskHead,
    NestedCascadeROIHeads,
    NestedROIHeads,
)
from maskrcnnpp.modeling.roi_heads_keys import check_roi_heads
from maskrcnnpp.modeling.sem_seg_head import has_deep_head
from maskrcnnpp.modeling.semantic_depths import BACKBONE, is_unet

# of which the graphs know what they compute; a subclass may compute something else
_ROI_HEADS = (StandardROIHeads, CascadeROIHeads, NestedROIHeads, NestedCascadeROIHeads)
_MASK_HEADS = (BaseMaskRCNNHead.forward, DeepSupervisionMaskHead.forward)


def check_config(cfg: CfgNode) -> None:
    """Check what can be seen before the model is built.

    Raises:
        ConfigError: it cannot be exported; the message says why and what to set.
    """
    if is_semantic(cfg):
        if not (is_unet(cfg) and has_deep_head(cfg)):
            _refuse(
                f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} with MODEL.SEM_SEG_HEAD.NAME "
                f"{cfg.MODEL.SEM_SEG_HEAD.NAME}",
                f"of semantic models those of {BACKBONE} with DeepSupervisionSemSegHead can be",
            )
        return
    check_roi_heads(cfg)
    if not cfg.MODEL.MASK_ON:
        _refuse("a model without masks", "set MODEL.MASK_ON to True")
    if cfg.MODEL.KEYPOINT_ON:
        _refuse("the keypoint head", "set MODEL.KEYPOINT_ON to False for boxes and masks alone")


def check_model(cfg: CfgNode, model: nn.Module) -> None:
    """Check the parts of a model that was built.

    Raises:
        ConfigError: one cannot be exported; the message says which, why and what to set.
    """
    if is_semantic(cfg):
        return
    for key, value, known in _unknown_parts(cfg, model):
        _refuse(f"{key} {value}", f"it computes what an export does not know: set {key} to {known}")
    if model.backbone.padding_constraints.get("square_size", 0):
        _refuse(
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME}",
            "it takes square images of one size only: choose another backbone",
        )


def _unknown_parts(cfg: CfgNode, model: nn.Module) -> Iterator[tuple[str, str, str]]:
    """Key, value and what it can be, of parts that the graphs do not know."""
    if getattr(type(model), "inference", None) is not GeneralizedRCNN.inference:
        known = "GeneralizedRCNN or EmbeddedRCNN"
        yield "MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, known
        return
    rpn, heads = model.proposal_generator, model.roi_heads
    if type(rpn) is not RPN:
        yield "MODEL.PROPOSAL_GENERATOR.NAME", cfg.MODEL.PROPOSAL_GENERATOR.NAME, "RPN"
    elif type(rpn.anchor_generator) is not DefaultAnchorGenerator:
        known = "DefaultAnchorGenerator"
        yield "MODEL.ANCHOR_GENERATOR.NAME", cfg.MODEL.ANCHOR_GENERATOR.NAME, known
    if type(heads) not in _ROI_HEADS:
        known = " or ".join(kind.__name__ for kind in _ROI_HEADS)
        yield "MODEL.ROI_HEADS.NAME", cfg.MODEL.ROI_HEADS.NAME, known
        return
    predictors = heads.box_predictor
    for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
        if type(predictor) is not FastRCNNOutputLayers:
            yield "the box predictor", type(predictor).__name__, "FastRCNNOutputLayers"
    if type(heads.mask_head).forward not in _MASK_HEADS:
        known = "MaskRCNNConvUpsampleHead or DeepSupervisionMaskHead"
        yield "MODEL.ROI_MASK_HEAD.NAME", cfg.MODEL.ROI_MASK_HEAD.NAME, known
    for key, pooler in (
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", heads.box_pooler),
        ("MODEL.ROI_MASK_HEAD.POOLER_TYPE", heads.mask_pooler),
    ):
        poolers = [x for x in pooler.modules() if isinstance(x, ROIPooler)] if pooler else []
        levels = [level for x in poolers for level in x.level_poolers]
        if not levels or not all(isinstance(level, ROIAlign) for level in levels):
            value = cfg.MODEL.ROI_BOX_HEAD if "BOX" in key else cfg.MODEL.ROI_MASK_HEAD
            yield key, repr(value.POOLER_TYPE), "ROIAlignV2"


def _refuse(part: str, remedy: str) -> None:
    raise ConfigError(f"{part} cannot be exported: {remedy}")
