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


@pytest.mark.parametrize("path", sorted(Path("configs/semantic").glob("unet*.yaml")), ids=str)
def test_the_papers_rows_are_as_large_as_printed(path):
    cfg = build_config(str(path), ["MODEL.DEVICE", "cpu"])
    count = sum(x.numel() for x in build_model(cfg).parameters())
    colour = 2 * 9 * cfg.MODEL.NESTED_UNET.ROW_CHANNELS[0]  # two channels more than the papers'
    assert round((count - colour) / 1e6, 1) == PARAMETERS[path.stem]
