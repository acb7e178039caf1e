import argparse
import os

import pytest
import torch
from detectron2.config import get_cfg

from maskrcnnpp import add_maskrcnnpp_config
from maskrcnnpp.engine import build_config, setup
from maskrcnnpp.errors import ConfigError, DataError

QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"


def arguments(**kwargs):
    values = {"config_file": QUICK, "opts": [], "resume": False, "eval_only": False}
    return argparse.Namespace(**{**values, **kwargs})


def test_the_device_is_what_is_there_and_the_config_wins():
    assert build_config(QUICK).MODEL.DEVICE == ("cuda" if torch.cuda.is_available() else "cpu")
    assert build_config(QUICK, ["MODEL.DEVICE", "meta"]).MODEL.DEVICE == "meta"


def test_runs_are_seeded_unless_asked_not_to_be():
    assert build_config(QUICK).SEED >= 0
    assert build_config(QUICK, ["SEED", "-1"]).SEED == -1


def test_mixed_precision_is_off_without_a_gpu():
    config = "configs/dsb2018/maskrcnnpp_R_50_nested_fpn.yaml"
    assert not build_config(config, ["MODEL.DEVICE", "cpu"]).SOLVER.AMP.ENABLED
    assert build_config(config, ["MODEL.DEVICE", "cuda"]).SOLVER.AMP.ENABLED


def test_adding_the_keys_changes_no_stock_value():
    cfg, stock = get_cfg(), get_cfg()
    add_maskrcnnpp_config(cfg)

    def check(ours, theirs, path):
        for key, value in theirs.items():
            if isinstance(value, type(theirs)):
                check(ours[key], value, f"{path}.{key}")
            else:
                assert ours[key] == value, f"{path}.{key}"

    check(cfg, stock, "")


@pytest.mark.parametrize(
    ("opts", "word"),
    [
        (["MODEL.NESTED_FPN.DEHPT", "2"], "DEHPT"),
        (["SOLVER.BASE_LR"], "KEY VALUE"),
        (["SOLVER.MAX_ITER", "many"], "command line"),
        (["MODEL.NESTED_FPN.DEPTH", "[1]"], "DEPTH"),
    ],
)
def test_bad_overrides(opts, word):
    with pytest.raises(ConfigError, match=word):
        build_config(QUICK, opts)


def test_bad_config_files(tmp_path):
    with pytest.raises(ConfigError, match="missing.yaml"):
        build_config(str(tmp_path / "missing.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("MODEL: [unclosed")
    with pytest.raises(ConfigError, match="broken.yaml"):
        build_config(str(broken))
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text("MODEL:\n  NESTED_FPM:\n    DEPTH: 1\n")
    with pytest.raises(ConfigError, match="NESTED_FPM"):
        build_config(str(unknown))


def test_an_unprepared_data_set_says_what_to_run(tmp_path, monkeypatch):
    config_file = os.path.abspath(QUICK)
    monkeypatch.chdir(tmp_path)  # where there is no datasets/
    with pytest.raises(DataError, match="python datasets/prepare_dsb2018.py"):
        setup(arguments(config_file=config_file))


def test_weights_are_looked_for_before_anything_is_built(tmp_path):
    opts = ["OUTPUT_DIR", str(tmp_path), "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"]
    with pytest.raises(ConfigError, match="MODEL.WEIGHTS"):
        setup(arguments(eval_only=True, opts=opts))
    with pytest.raises(ConfigError, match="nowhere.pth"):
        setup(arguments(opts=[*opts, "MODEL.WEIGHTS", "nowhere.pth"]))
