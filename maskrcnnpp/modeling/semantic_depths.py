"""Which depths of a semantic network of the U-Net family are read, in training and at inference."""

from __future__ import annotations

import math

from detectron2.config import CfgNode

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import MODES
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
    unet = cfg.MODEL.NESTED_UNET
    deepest = len(unet.ROW_CHANNELS) - 1
    if not 0 <= unet.DEPTH <= deepest:
        raise ConfigError(
            f"MODEL.NESTED_UNET.DEPTH is {unet.DEPTH}; ROW_CHANNELS {list(unet.ROW_CHANNELS)} "
            f"allow 1..{deepest} (0: {deepest})"
        )
    return unet.DEPTH or deepest


def semantic_depths(cfg: CfgNode) -> tuple[int, list[int], list[int]]:
    """Depth of the network, and what is read beside it in training and at inference.

    Raises:
        ConfigError: a value is unknown or impossible, or they contradict each other.
    """
    depth = network_depth(cfg)
    deep = cfg.MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION
    key = "MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION"
    if deep.LOSS not in SEMANTIC_LOSSES:
        raise ConfigError(
            f"{key}.LOSS is {deep.LOSS!r}; it can be one of {sorted(SEMANTIC_LOSSES)}"
        )
    if deep.MODE not in MODES:
        raise ConfigError(f"{key}.MODE is {deep.MODE!r}; it can be one of {list(MODES)}")
    weights = list(deep.WEIGHTS)
    if not all(isinstance(w, (int, float)) and 0 <= w < math.inf for w in weights):
        raise ConfigError(f"{key}.WEIGHTS is {weights}; weights are numbers of 0 or more")
    if weights and len(weights) < depth - 1:
        raise ConfigError(
            f"{key}.WEIGHTS is {weights}; a network of depth {depth} needs a weight for each "
            f"shallower depth, {depth - 1} of them, or none at all"
        )
    supervised = [d for d in range(1, depth) if weights and weights[d - 1] > 0]
    connections = cfg.MODEL.NESTED_UNET.CONNECTIONS
    if supervised and connections == "plain":
        raise ConfigError(
            f"MODEL.NESTED_UNET.CONNECTIONS is 'plain', which has no shallower depths: set {key}."
            "WEIGHTS to [], or the connections to 'ensemble'"
        )
    if deep.MODE == "ensemble" and not supervised and depth > 1:
        raise ConfigError(f"{key}.MODE is 'ensemble'; it needs WEIGHTS above 0")
    return depth, supervised, supervised if deep.MODE == "ensemble" else []
