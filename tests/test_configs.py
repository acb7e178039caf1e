"""What holds for every config file."""

from pathlib import Path

import pytest

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.engine.training_checks import check_training_keys

CONFIGS = sorted(p for p in Path("configs").rglob("*.yaml") if not p.name.startswith("Base"))


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_each_trains_in_a_folder_of_its_own(path):
    # two that shared one would overwrite each other's model, and resume from it
    cfg = build_config(str(path), ["MODEL.DEVICE", "cpu"])
    assert cfg.OUTPUT_DIR == f"output/{path.relative_to('configs').with_suffix('')}"
    check_training_keys(cfg)


@pytest.mark.parametrize("arm", ["nested_fpn", "embedded", "fast"])
def test_the_arms_of_configs_cpu_differ_in_pyramid_and_heads_only(arm):
    stock, ours = (
        build_config(f"configs/cpu/{name}.yaml", ["MODEL.DEVICE", "cpu"]).clone()
        for name in ("mask_rcnn_lite0_FPN", f"maskrcnnpp_lite0_{arm}")
    )
    for cfg in (stock, ours):
        cfg.defrost()
        cfg.OUTPUT_DIR = ""
        cfg.MODEL.META_ARCHITECTURE = cfg.MODEL.BACKBONE.NAME = ""
        cfg.MODEL.FPN.IN_FEATURES = []
        cfg.MODEL.NESTED_FPN = cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION = None
        cfg.MODEL.ROI_HEADS.NAME = cfg.MODEL.ROI_MASK_HEAD.NAME = ""
        cfg.MODEL.ROI_MASK_HEAD.BOX_MARGIN = cfg.MODEL.ROI_MASK_HEAD.SCORE_MASKS = None
    assert ours == stock
