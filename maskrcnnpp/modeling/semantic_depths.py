"""Depths of a semantic network of the U-Net family that training and inference read."""

from __future__ import annotations

from detectron2.config import CfgNode

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.grid_checks import check_deep_supervision, checked_depth, weighted_depths
from maskrcnnpp.modeling.losses import SEMANTIC_LOSSES

#: Name by which the registry knows the networks.
BACKBONE = "build_nested_unet_backbone"


def top_node(depth: int) -> str:
    """Name of the feature X(0,d), which the head of that depth reads."""
    return f"x_0_{depth}"


def is_unet(cfg: CfgNode) -> bool:
    """Whether the model of ``cfg`` is of the U-Net family."""
    return cfg.MODEL.BACKBONE.NAME == BACKBONE


def network_depth(cfg: CfgNode) -> int:
    """Depth of the network of ``cfg``.

    Raises:
        ConfigError: the rows do not allow it.
    """
    return checked_depth(cfg.MODEL.NESTED_UNET, "MODEL.NESTED_UNET")


def semantic_depths(cfg: CfgNode) -> tuple[int, list[int], list[int]]:
    """Depth of the network, and what is read beside it in training and at inference.

    Raises:
        ConfigError: a value is unknown or impossible, or they contradict each other.
    """
    depth = network_depth(cfg)
    deep = cfg.MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION
    key = "MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION"
    check_deep_supervision(deep, key, SEMANTIC_LOSSES)
    unet = cfg.MODEL.NESTED_UNET
    supervised = []
    if deep.WEIGHTS:
        supervised = weighted_depths(deep, key, depth, unet, "MODEL.NESTED_UNET")
    if deep.MODE == "ensemble" and not supervised and depth > 1:
        raise ConfigError(f"{key}.MODE is 'ensemble'; it needs WEIGHTS above 0")
    return depth, supervised, supervised if deep.MODE == "ensemble" else []
