"""How the pyramids of shallower depths travel from the backbone to the heads that read them.

Detectron2 hands features on as a dict of names. The full pyramid keeps the stock names p2..p6;
level p2 of depth 1 travels beside it as ``p2_d1``. Heads that do not know them pass them by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, ProposalNetwork, SemanticSegmentor
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads.mask_head import ROI_MASK_HEAD_REGISTRY
from detectron2.utils.registry import Registry
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from maskrcnnpp.config import add_maskrcnnpp_config
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.grid_checks import check_deep_supervision, weighted_depths
from maskrcnnpp.modeling.losses import MASK_LOSSES

T = TypeVar("T")

#: The level of stride 2, of its row's width: X(0,d) as it is. Only mask heads read it.
FINE_LEVEL = "p1"

_DEEP = "MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION"
_NODE = re.compile(r"\bgrid\.(?:x|up)_(\d+)_(\d+)\.")
_LATERAL = re.compile(r"\bfpn_lateral(\d+)\.")
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
    check_deep_supervision(deep, _DEEP, MASK_LOSSES)
    if not 0 < deep.ROI_FRACTION <= 1:
        raise ConfigError(
            f"{_DEEP}.ROI_FRACTION is {deep.ROI_FRACTION}; it must be above 0 and at most 1"
        )
    return deep


def split_depths(features: Mapping[str, T]) -> dict[int | None, dict[str, T]]:
    """The pyramid of each depth under the stock names; None is the full one, which comes first."""
    full = {name: x for name, x in features.items() if not _SHALLOW.fullmatch(name)}
    return {
        None: full,
        **{
            depth: {name: features[feature_name(name, depth)] for name in full}
            for depth in shallower_depths(features)
        },
    }


def supervised_depths(cfg: CfgNode, depth: int) -> tuple[list[int], list[int]]:
    """Depths below ``depth`` whose pyramids the heads read, in training and at inference.

    A meta architecture that trains all heads on every depth says so by the class attribute
    ``trains_every_depth``, a mask head that does by ``learns_from_every_depth``, RoI heads that
    pool for it by ``pools_every_depth``.

    Raises:
        ConfigError: too few weights, or RoI heads that would leave the mask head without the
            pyramids it is to read.
    """
    if depth == 1:
        return [], []
    embedded = is_embedded(cfg)
    has_masks = cfg.MODEL.MASK_ON and has_roi_heads(cfg)
    masks = has_masks and getattr(
        _registered(cfg, "ROI_MASK_HEAD", ROI_MASK_HEAD_REGISTRY), "learns_from_every_depth", False
    )
    if not embedded and not masks:
        if has_masks:
            _check_unread(cfg)
        return [], []

    deep = deep_supervision_config(cfg)
    grid = cfg.MODEL.NESTED_FPN
    supervised = weighted_depths(deep, _DEEP, depth, grid, "MODEL.NESTED_FPN")
    if deep.MODE == "ensemble" and not (masks and supervised):
        raise ConfigError(
            "MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.MODE is 'ensemble'; it needs "
            "MODEL.ROI_MASK_HEAD.NAME DeepSupervisionMaskHead and WEIGHTS above 0"
        )
    at_inference = supervised if deep.MODE == "ensemble" else []
    needs_nested = at_inference if embedded else supervised
    if needs_nested and not pools_every_depth(cfg):
        raise ConfigError(
            f"MODEL.ROI_HEADS.NAME is {cfg.MODEL.ROI_HEADS.NAME}, which pools one pyramid only; "
            f"{cfg.MODEL.ROI_MASK_HEAD.NAME} on a nested pyramid needs NestedROIHeads or "
            "NestedCascadeROIHeads "
            "(or set MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS to zeros)"
        )
    return supervised, at_inference


def _check_unread(cfg: CfgNode) -> None:
    """Check that deep supervision is not asked of a mask head that knows none."""
    deep, default = cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION, get_cfg()
    add_maskrcnnpp_config(default)
    usual = default.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS
    is_asked_for = {
        # as they are by default they are nobody's wish
        "WEIGHTS": any(deep.WEIGHTS) and list(deep.WEIGHTS) != usual,
        "MODE": deep.MODE == "ensemble",
    }
    for key, remedy in (("WEIGHTS", "zeros"), ("MODE", "pruned")):
        if is_asked_for[key]:
            raise ConfigError(
                f"MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.{key} is {deep[key]}, and "
                f"MODEL.ROI_MASK_HEAD.NAME {cfg.MODEL.ROI_MASK_HEAD.NAME} learns and predicts at "
                f"the full depth only: set {key} to {remedy}, or the name to "
                "DeepSupervisionMaskHead"
            )


def refuse_batch_norm(module: nn.Module, key: str) -> None:
    """Refuse batch normalization in what is computed once for each depth.

    Its running statistics would be neither those of one depth nor of the other. Frozen ones stay as
    they are and are no matter.

    Raises:
        ConfigError: ``module`` has one that counts, SyncBN included; the message names ``key``.
    """
    found = [type(x).__name__ for x in module.modules() if isinstance(x, _BatchNorm)]
    if found:
        raise ConfigError(
            f"{key} normalizes by batches ({found[0]}) what is computed for several depths: the "
            'statistics of one would count for the other. Set it to "GN", or train one depth '
            "(MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS zeros; extra_depths_in_training ())"
        )


def check_grid_weights(
    found: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    key: str = "MODEL.NESTED_FPN",
) -> None:
    """Check that weights of a grid are of the one that they are to be loaded into.

    Detectron2 would leave what is missing or of another shape at random, and only log it. Weights
    without any node, such as an encoder's or a stock model's, are not looked at.

    Args:
        found: state dict of a checkpoint, or a part of it.
        expected: state dict of the model, or the same part.
        key: of the grid in the config, for the message: MODEL.NESTED_FPN or MODEL.NESTED_UNET.

    Raises:
        ConfigError: they are of a shallower grid or of another one.
    """
    theirs, ours = depth_of_weights(found), depth_of_weights(expected)
    if theirs == 0:
        return
    if theirs < ours and _finest_row(found) == _finest_row(expected):
        raise ConfigError(
            f"the weights are of a grid of depth {theirs}, the config asks for depth "
            f"{ours}: set {key}.DEPTH to {theirs} or less"
        )
    for name, weight in expected.items():
        if not (_NODE.search(name) or _LATERAL.search(name) or "mask_fine" in name):
            continue
        if name not in found or found[name].shape != weight.shape:
            _check_was_trained(name, found, theirs, key)
            shape = tuple(found[name].shape) if name in found else "missing"
            raise ConfigError(
                f"the weights are of another grid: {name} is {shape}, and "
                f"{tuple(weight.shape)} by the config; set {_OTHERS[key]} as config.yaml of that "
                "training has them"
            )


#: Keys that decide what a grid is, by that of its own ones.
_OTHERS = {
    "MODEL.NESTED_FPN": "MODEL.FPN.IN_FEATURES, MODEL.NESTED_FPN and MODEL.FPN.NORM",
    "MODEL.NESTED_UNET": "the keys of MODEL.NESTED_UNET",
}
#: Keys that decide which depths are trained.
_SUPERVISION = {
    "MODEL.NESTED_FPN": "MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS",
    "MODEL.NESTED_UNET": "MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.WEIGHTS",
}


def _check_was_trained(missing: str, found: Iterable[str], depth: int, key: str) -> None:
    """Whether a node is missing because its depth, below the weights' own, was not trained."""
    node = _NODE.search(missing)
    if node is None or missing in found:
        return
    its_depth = int(node[1]) + int(node[2])
    depths = {int(n[1]) + int(n[2]) for name in found if (n := _NODE.search(name))}
    if its_depth < depth and its_depth not in depths:
        raise ConfigError(
            f"depth {its_depth} has not been trained: the weights, of depth {depth}, have none of "
            f"its nodes. With {key}.CONNECTIONS ensemble they exist where {_SUPERVISION[key]} is "
            f"above 0: set its entry to 0, and {key}.DEPTH to a depth that was trained"
        )


def depth_of_weights(names: Iterable[str]) -> int:
    """Depth of the nested pyramid whose weights have these names; 0 where there is none."""
    found = [int(node[1]) + int(node[2]) for name in names if (node := _NODE.search(name))]
    return max(found, default=0)


def _finest_row(names: Iterable[str]) -> int:
    """k of the finest fpn_lateral{k}."""
    return min((int(found[1]) for name in names if (found := _LATERAL.search(name))), default=0)


def architecture(cfg: CfgNode) -> type:
    """Class of the whole model; ``object`` where nothing is registered by its name."""
    name = cfg.MODEL.META_ARCHITECTURE
    return META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else object


def is_embedded(cfg: CfgNode) -> bool:
    """Whether all heads of ``cfg`` are trained on the pyramids of every depth."""
    return getattr(architecture(cfg), "trains_every_depth", False)


def has_roi_heads(cfg: CfgNode) -> bool:
    """Whether the model has RoI heads; an architecture that is not Detectron2's may have them."""
    return not issubclass(architecture(cfg), (DenseDetector, ProposalNetwork, SemanticSegmentor))


def pools_every_depth(cfg: CfgNode) -> bool:
    """Whether the RoI heads of ``cfg`` read all that a nested backbone hands on."""
    roi_heads = _registered(cfg, "ROI_HEADS", ROI_HEADS_REGISTRY)
    return getattr(roi_heads, "pools_every_depth", False)


def _registered(cfg: CfgNode, part: str, registry: Registry) -> type:
    name = cfg.MODEL[part].NAME
    if name not in registry:
        raise ConfigError(f"MODEL.{part}.NAME is {name!r}; nothing is registered by that name")
    return registry.get(name)
