import importlib.util
import sys
from pathlib import Path

import pytest
from detectron2.modeling import build_model

from maskrcnnpp.engine import build_config

spec = importlib.util.spec_from_file_location("model_zoo", "docs/benchmarks/model_zoo.py")
model_zoo = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = model_zoo  # where dataclasses look for it
spec.loader.exec_module(model_zoo)

#: What an arm may change: the pyramid, and how the mask head reads it and learns.
COMPARED = ("MODEL.BACKBONE.NAME", "MODEL.FPN", "MODEL.NESTED_FPN", "MODEL.ROI_HEADS.NAME")
MASK_HEAD = ("NAME", "IN_FEATURES", "DEEP_SUPERVISION")
ARMS = sorted(str(path) for path in Path("configs/benchmark").rglob("*.yaml"))
PAIRS = {"R_18": "quick", "R_50": "dsb2018"}


def stock_of(config_file):
    encoder = Path(config_file).parent.name
    return f"configs/{PAIRS[encoder]}/mask_rcnn_{encoder}_FPN.yaml"


def without_what_is_compared(config_file):
    cfg = build_config(config_file)
    cfg.defrost()
    for key in (*COMPARED, *(f"MODEL.ROI_MASK_HEAD.{name}" for name in MASK_HEAD)):
        *path, last = key.split(".")
        node = cfg
        for name in path:
            node = node[name]
        del node[last]
    cfg.OUTPUT_DIR = ""
    return cfg


def parameters(config_file):
    model = build_model(build_config(config_file, ["MODEL.DEVICE", "cpu"]))
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_page_is_what_the_results_give():
    assert model_zoo.PAGE.read_text() == model_zoo.page()


@pytest.mark.parametrize("config_file", ARMS)
def test_arms_differ_from_stock_only_in_what_is_compared(config_file):
    assert without_what_is_compared(config_file) == without_what_is_compared(stock_of(config_file))


@pytest.mark.parametrize("section", model_zoo.SECTIONS, ids=lambda section: section.title)
def test_no_arm_has_fewer_parameters_than_ours_as_the_wide_control(section):
    ours = parameters(section.config_files[-1])
    assert max(parameters(config_file) for config_file in section.config_files[:2]) >= ours
