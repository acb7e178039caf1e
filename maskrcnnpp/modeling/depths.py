"""How the pyramids of shallower depths travel from the backbone to the heads that read them.

Detectron2 hands features on as a dict of names. The full pyramid keeps the stock names p2..p6;
level p2 of depth 1 travels beside it as ``p2_d1``. Heads that do not know them pass them by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from detectron2.config import CfgNode
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads.mask_head import ROI_MASK_HEAD_REGISTRY
from detectron2.utils.registry import Registry

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.losses import MASK_LOSSES

#: What the mask head gives at inference: the full depth's masks, or the mean over depths.
MODES = ("pruned", "ensemble")

_LEVEL = re.compile(r"p\d+")
_SHALLOW = re.compile(r"p\d+_d(\d+)")


def feature_name(level: str, depth: int | None) -> str:
    """Name of ``level`` ("p2") in the pyramid of a shallower depth; None is the full pyramid."""
    return level if depth is None else f"{level}_d{depth}"


def shallower_depths(features: Iterable[str]) -> list[int]:
    """Depths, beside the full one, whose pyramids are among the names ``features``, ascending."""
    return sorted({int(found[1]) for name in features if (found := _SHALLOW.fullmatch(name))})


def deep_supervision_config(cfg: CfgNode) -> CfgNode:
    """``MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION``, checked.

    Raises:
        ConfigError: a value is unknown or impossible; the message names the key.
    """
    deep = cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION
    rules = {
        "LOSS": (deep.LOSS in MASK_LOSSES, f"it can be one of {sorted(MASK_LOSSES)}"),
        "MODE": (deep.MODE in MODES, f"it can be one of {list(MODES)}"),
        "WEIGHTS": (
            all(isinstance(w, (int, float)) and 0 <= w < math.inf for w in deep.WEIGHTS),
            "weights are numbers of 0 or more",
        ),
        "ROI_FRACTION": (0 < deep.ROI_FRACTION <= 1, "it must be above 0 and at most 1"),
    }
    for key, (is_possible, rule) in rules.items():
        if not is_possible:
            raise ConfigError(
                f"MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.{key} is {deep[key]!r}; {rule}"
            )
    return deep


def supervised_depths(cfg: CfgNode, depth: int) -> tuple[list[int], list[int]]:
    """Depths below ``depth`` whose pyramids the mask head reads, in training and at inference.

    A mask head says that it can by the class attribute ``learns_from_every_depth``, RoI heads
    that they pool for it by ``pools_every_depth``.

    Raises:
        ConfigError: too few weights, or RoI heads that would leave the mask head without the
            pyramids or levels it is to read.
    """
    if not cfg.MODEL.MASK_ON:
        return [], []
    check_mask_levels(cfg)
    if depth == 1:
        return [], []
    mask_head = _registered(cfg, "ROI_MASK_HEAD", ROI_MASK_HEAD_REGISTRY)
    if not getattr(mask_head, "learns_from_every_depth", False):
        return [], []

    deep = deep_supervision_config(cfg)
    if len(deep.WEIGHTS) < depth - 1:
        raise ConfigError(
            f"MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS is {list(deep.WEIGHTS)}; a pyramid of "
            f"depth {depth} needs a weight for each shallower depth, {depth - 1} of them"
        )
    supervised = [d for d in range(1, depth) if deep.WEIGHTS[d - 1] > 0]
    if supervised and not _are_nested(cfg):
        raise ConfigError(
            f"MODEL.ROI_HEADS.NAME is {cfg.MODEL.ROI_HEADS.NAME}, which pools one pyramid only; "
            f"{cfg.MODEL.ROI_MASK_HEAD.NAME} on a nested pyramid needs NestedROIHeads "
            "(or set MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS to zeros)"
        )
    return supervised, supervised if deep.MODE == "ensemble" else []


def check_mask_levels(cfg: CfgNode) -> None:
    """Check that ``MODEL.ROI_MASK_HEAD.IN_FEATURES``, if set, names levels that can be pooled.

    Raises:
        ConfigError: the RoI heads would not read it, or it is not p(k), p(k+1), ...
    """
    levels = list(cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES)
    if not levels:
        return
    if not _are_nested(cfg):
        raise ConfigError(
            f"MODEL.ROI_HEADS.NAME is {cfg.MODEL.ROI_HEADS.NAME}, whose mask head reads what its "
            "box head does; MODEL.ROI_MASK_HEAD.IN_FEATURES needs NestedROIHeads"
        )
    strides = [int(level[1:]) if _LEVEL.fullmatch(level) else -1 for level in levels]
    if -1 in strides or strides != list(range(strides[0], strides[0] + len(strides))):
        raise ConfigError(
            f"MODEL.ROI_MASK_HEAD.IN_FEATURES is {levels}; it needs neighbouring levels, fine to "
            'coarse, such as ["p1", "p2", "p3"]'
        )


def _are_nested(cfg: CfgNode) -> bool:
    roi_heads = _registered(cfg, "ROI_HEADS", ROI_HEADS_REGISTRY)
    return getattr(roi_heads, "pools_every_depth", False)


def _registered(cfg: CfgNode, part: str, registry: Registry) -> type:
    name = cfg.MODEL[part].NAME
    if name not in registry:
        raise ConfigError(f"MODEL.{part}.NAME is {name!r}; nothing is registered by that name")
    return registry.get(name)
