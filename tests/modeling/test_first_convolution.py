"""Weights for red, green and blue in models that take other channels."""

import logging
import pickle

import pytest
import torch
from detectron2.modeling import build_model

from maskrcnnpp.modeling.checkpoint import Checkpointer


def model_of(cfg, channels):
    cfg = cfg.clone()
    cfg.MODEL.PIXEL_MEAN = [100.0] * channels
    cfg.MODEL.PIXEL_STD = [50.0] * channels
    return build_model(cfg).eval()


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_grey_image_gives_the_same_response(tiny_cfg, tmp_path, caplog, channels, prefix):
    rgb, other = model_of(tiny_cfg, 3), model_of(tiny_cfg, channels)
    state = {f"{prefix}{name}": value for name, value in rgb.state_dict().items()}
    torch.save({"model": state}, tmp_path / "rgb.pth")
    checkpointer = Checkpointer(other, adapts_channels=True)
    with caplog.at_level(logging.INFO, logger="maskrcnnpp"):
        checkpointer.load(str(tmp_path / "rgb.pth"))
    assert list(checkpointer.unfilled) == []
    assert f"stem.conv1.weight of 3 channels is adapted to {channels}" in caplog.text
    grey = 255 * torch.rand(1, 1, 64, 64) - 100
    with torch.no_grad():
        expected = rgb.backbone(grey.repeat(1, 3, 1, 1))
        found = other.backbone(grey.repeat(1, channels, 1, 1))
    assert set(found) == set(expected)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-3)


def test_weights_that_fit_are_taken_as_they_are(tiny_cfg, tmp_path, caplog):
    name = "backbone.bottom_up.stem.conv1.weight"
    for channels in (3, 5):
        source, target = model_of(tiny_cfg, channels), model_of(tiny_cfg, channels)
        torch.save({"model": source.state_dict()}, tmp_path / "a.pth")
        with caplog.at_level(logging.INFO, logger="maskrcnnpp"):
            Checkpointer(target, adapts_channels=True).load(str(tmp_path / "a.pth"))
        assert torch.equal(source.state_dict()[name], target.state_dict()[name])
    assert "is adapted" not in caplog.text


def test_other_numbers_of_channels_are_not_made_up(tiny_cfg, tmp_path):
    torch.save({"model": model_of(tiny_cfg, 2).state_dict()}, tmp_path / "a.pth")
    checkpointer = Checkpointer(model_of(tiny_cfg, 5))
    checkpointer.load(str(tmp_path / "a.pth"))
    assert set(checkpointer.unfilled) == {"backbone.bottom_up.stem.conv1.weight"}


@pytest.mark.parametrize("name", ["stem.conv1.weight", "conv1_w"])
def test_backbones_as_detectron2_publishes_them(tiny_cfg, tmp_path, name):
    weight = model_of(tiny_cfg, 3).state_dict()["backbone.bottom_up.stem.conv1.weight"].numpy()
    author = "Caffe2" if name == "conv1_w" else "torchvision"
    content = {"model": {name: weight}, "__author__": author, "matching_heuristics": True}
    (tmp_path / "R.pkl").write_bytes(pickle.dumps(content))
    other = model_of(tiny_cfg, 5)
    Checkpointer(other, adapts_channels=True).load(str(tmp_path / "R.pkl"))
    found = other.state_dict()["backbone.bottom_up.stem.conv1.weight"]
    torch.testing.assert_close(found.sum(dim=1), torch.as_tensor(weight).sum(dim=1))
