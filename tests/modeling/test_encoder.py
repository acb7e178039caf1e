import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.resnet import build_resnet_backbone

from maskrcnnpp.modeling.encoder import ENCODER_MAPS, ResNetWithConv1, build_resnet_encoder

IMAGES = ShapeSpec(channels=3)


def stock_resnet(cfg):
    cfg = cfg.clone()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["stem", "res2", "res3", "res4", "res5"]
    return build_resnet_backbone(cfg, IMAGES)


@pytest.mark.parametrize("resnet", [18, 50])
def test_its_weights_and_maps_are_those_of_the_stock_resnet(tiny_cfg, resnet):
    tiny_cfg.MODEL.RESNETS.DEPTH = resnet
    tiny_cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64 if resnet < 50 else 256
    stock, ours = stock_resnet(tiny_cfg), build_resnet_encoder(tiny_cfg, IMAGES, list(ENCODER_MAPS))
    ours.load_state_dict(stock.state_dict())  # strict: the same names and shapes

    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, maps = stock.eval()(image), ours.eval()(image)
    assert list(maps) == list(ENCODER_MAPS)
    for name in ("res2", "res3", "res4", "res5"):
        assert torch.equal(maps[name], expected[name])
    assert torch.equal(torch.nn.functional.max_pool2d(maps["conv1"], 3, 2, 1), expected["stem"])


def test_shapes_are_as_said(tiny_cfg):
    encoder = build_resnet_encoder(tiny_cfg, IMAGES, list(ENCODER_MAPS))
    maps = encoder(torch.randn(1, 3, 64, 96))
    for name, shape in encoder.output_shape().items():
        stride = shape.stride
        assert maps[name].shape == (1, shape.channels, 64 // stride, 96 // stride)
    assert [shape.stride for shape in encoder.output_shape().values()] == [2, 4, 8, 16, 32]


def test_only_what_is_asked_for_is_built(tiny_cfg):
    encoder = build_resnet_encoder(tiny_cfg, IMAGES, ["conv1", "res2"])
    assert list(encoder.output_shape()) == ["conv1", "res2"]
    assert [name for name, _ in encoder.named_children()] == ["stem", "res2"]
    assert not isinstance(build_resnet_encoder(tiny_cfg, IMAGES, ["res2", "res3"]), ResNetWithConv1)


def test_freeze_at_freezes_as_it_does_in_a_stock_resnet(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.FREEZE_AT = 2
    ours = build_resnet_encoder(tiny_cfg, IMAGES, list(ENCODER_MAPS))
    frozen = {name.split(".")[0] for name, p in ours.named_parameters() if not p.requires_grad}
    assert frozen == {"stem", "res2"}


def test_a_stem_of_another_kind_is_refused(tiny_cfg):
    resnet = stock_resnet(tiny_cfg)
    resnet.stem = torch.nn.Identity()
    with pytest.raises(TypeError, match="Identity"):
        ResNetWithConv1(resnet)
