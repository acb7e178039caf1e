"""Whether anything reads what a nested pyramid computes: by the config, and by the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, PanopticFPN, ProposalNetwork, SemanticSegmentor
from detectron2.modeling.meta_arch.retinanet import RetinaNet

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import FINE_LEVEL, architecture, pools_every_depth

#: Parts whose IN_FEATURES name the levels they read, by the architectures that have them.
_PARTS = {
    "RPN": (GeneralizedRCNN, ProposalNetwork),
    "ROI_HEADS": (GeneralizedRCNN,),
    "RETINANET": (RetinaNet,),
    "SEM_SEG_HEAD": (PanopticFPN, SemanticSegmentor),
}


def check_readers(cfg: CfgNode, levels: Sequence[str], *, has_p6p7: bool) -> None:
    """Check that the heads read levels that there are, and that none is learned for nothing.

    An architecture that is neither Detectron2's nor derived from one of these is trusted.

    Args:
        cfg: of the whole model.
        levels: of the pyramid, fine to coarse.
        has_p6p7: whether the last two have weights of their own.

    Raises:
        ConfigError: the message names the key to set.
    """
    kind, rows = architecture(cfg), list(cfg.MODEL.FPN.IN_FEATURES)
    parts = [part for part, kinds in _PARTS.items() if issubclass(kind, kinds)]
    if "RPN" in parts and cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
        parts.remove("RPN")
    if not parts:
        return
    for part in parts:
        # p1 has the width of its row, and the other heads take one width
        known = [level for level in levels if level != FINE_LEVEL or part == "SEM_SEG_HEAD"]
        unknown = sorted(set(cfg.MODEL[part].IN_FEATURES) - set(known))
        if unknown:
            hint = (
                "; p6 and p7 as RetinaNet has them come with MODEL.BACKBONE.NAME "
                "build_retinanet_nested_fpn_backbone and MODEL.FPN.IN_FEATURES res3, res4, res5"
            )
            raise ConfigError(
                f"MODEL.{part}.IN_FEATURES names {unknown}; from a nested pyramid over "
                f"MODEL.FPN.IN_FEATURES {rows} it can read {known}{hint if 'p7' in unknown else ''}"
            )
    if levels[0] == FINE_LEVEL:
        _check_fine_level(cfg)
    read = {level for part in parts for level in cfg.MODEL[part].IN_FEATURES}
    keys = " or ".join(f"MODEL.{part}.IN_FEATURES" for part in parts)
    if levels[0] not in read and not (levels[0] == FINE_LEVEL and _rois_read_fine_level(cfg)):
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES is {rows}; nothing reads {levels[0]}, the level of its first "
            f"row: leave the row out of it and of MODEL.NESTED_FPN.ROW_CHANNELS"
            f"{_other_remedy(cfg, keys, levels[0])}"
        )
    if has_p6p7 and levels[-1] not in read:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME is {cfg.MODEL.BACKBONE.NAME}, and nothing reads its level "
            f"{levels[-1]}: name it in {keys}, or take build_nested_fpn_backbone"
        )
    if FINE_LEVEL in read and cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE > 2:
        raise ConfigError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES names {FINE_LEVEL}, of stride 2, and its "
            f"COMMON_STRIDE is {cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE}: set that to 2"
        )


def _check_fine_level(cfg: CfgNode) -> None:
    nested = cfg.MODEL.NESTED_FPN
    readers = list(nested.FINE_LEVEL_READERS)
    if not readers or not set(readers) <= {"masks", "boxes"}:
        raise ConfigError(
            f"MODEL.NESTED_FPN.FINE_LEVEL_READERS is {readers}; it can be masks, boxes or both"
        )
    if nested.FINE_SAMPLING_RATIO < 0:
        raise ConfigError(
            f"MODEL.NESTED_FPN.FINE_SAMPLING_RATIO is {nested.FINE_SAMPLING_RATIO}; it is 0 "
            "(adaptive) or more"
        )


def _rois_read_fine_level(cfg: CfgNode) -> bool:
    has_masks = cfg.MODEL.MASK_ON and bool(cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE)
    readers = cfg.MODEL.NESTED_FPN.FINE_LEVEL_READERS
    return (
        issubclass(architecture(cfg), GeneralizedRCNN)
        and ("boxes" in readers or ("masks" in readers and has_masks))
        and pools_every_depth(cfg)
    )


def _other_remedy(cfg: CfgNode, keys: str, level: str) -> str:
    if level != FINE_LEVEL:
        return f", or name the level in {keys}"
    if not issubclass(architecture(cfg), GeneralizedRCNN):
        name = cfg.MODEL.META_ARCHITECTURE
        return f"; MODEL.META_ARCHITECTURE {name} has no mask head that could read it"
    return (
        ", or let a mask head read it: MODEL.MASK_ON True, MODEL.ROI_HEADS.NAME NestedROIHeads or "
        "NestedCascadeROIHeads, MODEL.ROI_MASK_HEAD.POOLER_TYPE not empty (PointRend's is)"
    )


class GradientWatch:
    """Notices pyramids of shallower depths that are computed in training, and teach nothing.

    By a config that cannot happen. Modules that are put together without one (LazyConfig) may hand
    them to RoI heads that do not know them.
    """

    def __init__(self) -> None:
        self._expected: tuple[int, ...] = ()
        self._seen: set[int | None] = set()

    def restart(self, depths: tuple[int, ...]) -> None:
        """Begin a pass with the pyramids of ``depths`` beside the full one.

        Raises:
            ConfigError: in the pass before, the full pyramid had a gradient and another had none.
        """
        unread = set(self._expected) - self._seen
        if None in self._seen and unread:
            raise ConfigError(
                f"extra_depths_in_training of the nested pyramid has {sorted(unread)}, and no head "
                "learned from it: use NestedROIHeads or NestedCascadeROIHeads with "
                "DeepSupervisionMaskHead, or EmbeddedRCNN; or set extra_depths_in_training to ()"
            )
        self._expected, self._seen = depths, set()

    def add(self, depth: int | None, feature: torch.Tensor) -> None:
        """Watch a level of a depth; None is the full one."""
        if feature.requires_grad:
            feature.register_hook(partial(_note, self._seen, depth))


def _note(seen: set[int | None], depth: int | None, _: torch.Tensor) -> None:
    seen.add(depth)
