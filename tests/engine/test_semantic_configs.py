from pathlib import Path

import pytest
from detectron2.modeling import build_model

from maskrcnnpp.config_reader import build_config

# of the papers' table, in millions
PARAMETERS = {
    "unet": 7.8,
    "unet_wide": 9.3,  # printed as 9.1; by the filters that the papers name it is this
    "unet_ensemble": 8.7,
    "unetplus": 8.7,
    "unetplus_ds": 8.7,
    "unetpp": 9.0,
    "unetpp_ds": 9.0,
}
QUICK = ("unet", "unetpp", "unetpp_ds")


def built(path):
    cfg = build_config(str(path), ["MODEL.DEVICE", "cpu"])
    return cfg, sum(x.numel() for x in build_model(cfg).parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_papers_rows_are_as_large_as_printed(name):
    cfg, count = built(Path("configs/semantic", f"{name}.yaml"))
    colour = 2 * 9 * cfg.MODEL.NESTED_UNET.ROW_CHANNELS[0]  # two channels more than the papers'
    assert round((count - colour) / 1e6, 1) == PARAMETERS[name]


@pytest.mark.parametrize("name", QUICK)
def test_the_quick_rows_are_the_same_with_half_the_filters(name):
    large, count = built(Path("configs/semantic", f"{name}.yaml"))
    small, fewer = built(Path("configs/quick", f"{name}.yaml"))
    assert fewer == pytest.approx(count / 4, rel=0.01)
    for cfg in (large, small):
        cfg.defrost()
        for key in ("ROW_CHANNELS", "NORM"):
            del cfg.MODEL.NESTED_UNET[key]
    assert small.MODEL.NESTED_UNET == large.MODEL.NESTED_UNET
    assert small.MODEL.SEM_SEG_HEAD == large.MODEL.SEM_SEG_HEAD


def test_there_is_no_row_more():
    for folder, rows in (("configs/semantic", PARAMETERS), ("configs/quick", QUICK)):
        assert {path.stem for path in Path(folder).glob("unet*.yaml")} == set(rows)
