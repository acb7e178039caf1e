"""Keys that this project's RoI heads read, and Detectron2's pass by."""

from __future__ import annotations

from detectron2.config import CfgNode

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import pools_every_depth

_SIZE = "MODEL.ROI_HEADS.CANONICAL_BOX_SIZE"
_MARGIN = "MODEL.ROI_MASK_HEAD.BOX_MARGIN"


def check_roi_heads(cfg: CfgNode) -> None:
    """Check the keys of the RoI heads.

    Raises:
        ConfigError: one is impossible, or the RoI heads do not read it. The message names it.
    """
    heads, masks = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_MASK_HEAD
    if heads.CANONICAL_BOX_SIZE <= 0:
        raise ConfigError(f"{_SIZE} is {heads.CANONICAL_BOX_SIZE}; it is a number of pixels")
    if not 0 <= masks.BOX_MARGIN < 1:
        raise ConfigError(
            f"{_MARGIN} is {masks.BOX_MARGIN}; it is a part of a box's side, from 0 to below 1"
        )
    is_set = {
        _SIZE: heads.CANONICAL_BOX_SIZE != 224,
        _MARGIN: masks.BOX_MARGIN > 0,
        "MODEL.ROI_MASK_HEAD.SCORE_MASKS": masks.SCORE_MASKS,
    }
    unread = [key for key, value in is_set.items() if value]
    if unread and not pools_every_depth(cfg):
        raise ConfigError(
            f"MODEL.ROI_HEADS.NAME is {heads.NAME}, which does not read {' and '.join(unread)}: "
            "set it to NestedROIHeads, which takes a stock FPN too, or leave the others out"
        )
    if masks.BOX_MARGIN and not masks.POOLER_TYPE:
        raise ConfigError(
            f"{_MARGIN} is {masks.BOX_MARGIN}, and MODEL.ROI_MASK_HEAD.POOLER_TYPE is empty, so "
            "that masks have no boxes: set it to ROIAlignV2, or the margin to 0"
        )
