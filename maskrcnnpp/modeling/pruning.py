"""A trained network, pruned to a smaller depth: the nodes that depth needs, and nothing else.

UNet++ (IEEE TMI 2019), pruned mode. What a network is worth at a depth is decided in training; see
:class:`maskrcnnpp.modeling.embedded.EmbeddedRCNN`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import check_grid_weights, depth_of_weights
from maskrcnnpp.modeling.nested_fpn import NESTED_BACKBONES
from maskrcnnpp.modeling.semantic_depths import BACKBONE, is_unet, network_depth


def full_depth(cfg: CfgNode) -> int:
    """Depth of the nested pyramid, or of the network of the U-Net family, of ``cfg``.

    Raises:
        ConfigError: it has none.
    """
    if is_unet(cfg):
        return network_depth(cfg)
    if cfg.MODEL.BACKBONE.NAME not in NESTED_BACKBONES:
        raise ConfigError(
            "the model has no depth to choose: it has no nested pyramid (MODEL.BACKBONE.NAME is "
            f"{cfg.MODEL.BACKBONE.NAME}, and not {', '.join(NESTED_BACKBONES)} or {BACKBONE})"
        )
    return cfg.MODEL.NESTED_FPN.DEPTH or len(cfg.MODEL.FPN.IN_FEATURES) - 1


def pruned_config(cfg: CfgNode, depth: int) -> CfgNode:
    """``cfg`` at ``depth``, for the weights of :func:`pruned_weights`; not frozen.

    ``TEST.EXPECTED_RESULTS``, which is of the full depth, is left out. The pruned model predicts
    what its depth does only (``MODE`` pruned); one of the U-Net family keeps one head.

    Raises:
        ConfigError: there is no such depth.
    """
    deepest = full_depth(cfg)
    key, of_grid, deep = _keys(cfg)
    if not 1 <= depth <= deepest:
        raise ConfigError(
            f"a network of depth {deepest} ({key}.DEPTH {of_grid.DEPTH}) "
            f"cannot be pruned to depth {depth}: choose 1..{deepest}"
        )
    cfg = cfg.clone()
    cfg.defrost()
    _, of_grid, deep = _keys(cfg)
    of_grid.DEPTH = depth
    cfg.TEST.EXPECTED_RESULTS = []
    deep.MODE = "pruned"
    if is_unet(cfg):
        deep.WEIGHTS = []
    elif of_grid.CONNECTIONS == "ensemble" or of_grid.FINE_ROW == "last":
        # each shallower depth has nodes of its own, of no use to this one
        deep.WEIGHTS = [0.0] * len(deep.WEIGHTS)
    return cfg


def trained_depths(cfg: CfgNode) -> list[int]:
    """Depths that a model of ``cfg`` can be run at: it has all their weights. Rising.

    Its full depth is the last of them; none where the model has no grid.
    """
    try:
        deepest = full_depth(cfg)
    except ConfigError:
        return []
    there = _state(cfg).keys()
    shallower = (d for d in range(1, deepest) if _state(pruned_config(cfg, d)).keys() <= there)
    return [*shallower, deepest]


def depth_key(cfg: CfgNode) -> str:
    """The key of the config that says how deep its grid is.

    Raises:
        ConfigError: it has none.
    """
    full_depth(cfg)
    return f"{_keys(cfg)[0]}.DEPTH"


def _keys(cfg: CfgNode) -> tuple[str, CfgNode, CfgNode]:
    """Name and node of the keys of the grid, and those of deep supervision."""
    if is_unet(cfg):
        deep = cfg.MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION
        return "MODEL.NESTED_UNET", cfg.MODEL.NESTED_UNET, deep
    deep = cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION
    return "MODEL.NESTED_FPN", cfg.MODEL.NESTED_FPN, deep


def pruned_weights(
    cfg: CfgNode, weights: Mapping[str, torch.Tensor], depth: int
) -> dict[str, torch.Tensor]:
    """The part of ``weights`` that the model of ``cfg`` has at ``depth``, unchanged.

    Args:
        cfg: that the weights were trained with, before pruning.
        weights: state dict of its model.

    Raises:
        ConfigError: there is no such depth, it was not trained, or the weights are not of the
            model of ``cfg``.
    """
    theirs = depth_of_weights(weights)
    if theirs > full_depth(cfg):
        raise ConfigError(
            f"the weights are of a network of depth {theirs}, the config of depth "
            f"{full_depth(cfg)}: set {_keys(cfg)[0]}.DEPTH to {theirs}"
        )
    wanted = _state(pruned_config(cfg, depth))
    expected = _state(cfg)
    check_grid_weights(weights, expected, _keys(cfg)[0])
    untrained = [name for name in wanted if name not in expected]
    if untrained:
        raise ConfigError(
            f"depth {depth} has not been trained: its {untrained[0]} is not in the model. "
            f"{_why_untrained(cfg)}"
        )
    missing = [name for name in expected if name not in weights]
    differing = [n for n, x in expected.items() if n in weights and weights[n].shape != x.shape]
    if missing or differing:
        name = (missing or differing)[0]
        found = tuple(weights[name].shape) if name in weights else "missing"
        raise ConfigError(
            f"the weights are not of a model of this config: {name} should have shape "
            f"{tuple(expected[name].shape)} and is {found}, as are "
            f"{len(missing) + len(differing) - 1} more; use the config.yaml of the training's "
            "OUTPUT_DIR"
        )
    return {name: weights[name] for name in wanted}


def _why_untrained(cfg: CfgNode) -> str:
    if is_unet(cfg):
        if cfg.MODEL.NESTED_UNET.CONNECTIONS == "plain":
            return "A U-Net has one depth; MODEL.NESTED_UNET.CONNECTIONS plain cannot be pruned"
        return (
            "A depth has a head of its own, which exists where "
            "MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.WEIGHTS is above 0"
        )
    return (
        f"With MODEL.NESTED_FPN.CONNECTIONS {cfg.MODEL.NESTED_FPN.CONNECTIONS} and FINE_ROW "
        f"{cfg.MODEL.NESTED_FPN.FINE_ROW} a depth has nodes of its own, which exist "
        "where MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS is above 0"
    )


def _state(cfg: CfgNode) -> dict[str, torch.Tensor]:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg).state_dict()
