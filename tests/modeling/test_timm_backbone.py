"""Networks of timm under the stock FPN and the nested pyramid."""

import sys

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.backbone import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.utils.events import EventStorage

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.pruning import pruned_config, pruned_weights
from maskrcnnpp.modeling.timm_backbone import MAPS, TimmBackbone

LITE0 = "tf_efficientnet_lite0"
IMAGES = ShapeSpec(channels=3)


@pytest.fixture
def timm_cfg(tiny_cfg):
    """Mask R-CNN++ on all maps of EfficientNet-Lite0."""
    tiny_cfg.MODEL.BACKBONE.NAME = "build_nested_fpn_backbone"
    tiny_cfg.MODEL.NESTED_FPN.ENCODER = "build_timm_backbone"
    tiny_cfg.MODEL.TIMM.NAME = LITE0
    tiny_cfg.MODEL.FPN.IN_FEATURES = list(MAPS)
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    tiny_cfg.MODEL.ROI_HEADS.NAME = "NestedROIHeads"
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0, 1.0, 1.0]
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    return tiny_cfg


def stock(cfg, *in_features):
    cfg.MODEL.BACKBONE.NAME = "build_timm_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES = list(in_features)
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    return cfg


@pytest.mark.parametrize("name", [LITE0, "resnet18", "mobilenetv3_small_050", "regnety_002"])
def test_maps_are_those_of_timm(name):
    import timm

    backbone = TimmBackbone(name, out_features=MAPS, norm="FrozenBN").train()
    network = timm.create_model(name, features_only=True).eval()
    network.load_state_dict(backbone.network.state_dict())
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, expected = backbone(image), network(image)
    assert list(maps) == list(backbone.output_shape()) == list(MAPS)
    for found, wanted in zip(maps.values(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    for name, shape in backbone.output_shape().items():
        stride = shape.stride
        assert maps[name].shape == (2, shape.channels, 64 // stride, 96 // stride)


def test_stages_that_no_map_needs_are_not_built():
    whole, cut = (TimmBackbone(LITE0, out_features=MAPS[:n]) for n in (5, 2))
    assert list(cut.output_shape()) == ["conv1", "res2"]
    cut.load_state_dict({k: x for k, x in whole.state_dict().items() if k in cut.state_dict()})
    assert [name for name, _ in cut.network.blocks.named_children()] == ["0", "1"]
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(cut.eval()(image)["res2"], whole.eval()(image)["res2"])


@pytest.mark.parametrize(
    "norm, learns, moves",
    [("BN", True, True), ("EvalBN", True, False), ("FrozenBN", False, False)],
)
def test_norms(norm, learns, moves):
    backbone = TimmBackbone(LITE0, norm=norm).train()
    before = {name: x.clone() for name, x in backbone.named_buffers()}
    sum(x.mean() for x in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    learned = {name for name, x in backbone.named_parameters() if x.grad is not None}
    assert ("network.bn1.weight" in learned) == learns
    assert "network.conv_stem.weight" in learned
    changed = [name for name, x in backbone.named_buffers() if not torch.equal(x, before[name])]
    assert bool(changed) == moves


def test_freeze_at_freezes_what_a_map_is_computed_from():
    def frozen(freeze_at):
        parameters = TimmBackbone(LITE0, freeze_at=freeze_at).named_parameters()
        return {name for name, x in parameters if not x.requires_grad}

    assert frozen(0) == set()
    assert {name.split(".")[1] for name in frozen(1)} == {"conv_stem", "bn1", "blocks"}
    blocks = {name.split(".")[2] for name in frozen(2) if ".blocks." in name}
    assert blocks == {"0", "1"}
    with pytest.raises(ConfigError, match=r"FREEZE_AT is 1; convnext_atto has the maps \['res2'"):
        TimmBackbone("convnext_atto", freeze_at=1)


def test_freezing_leaves_no_trace_on_what_is_random():
    torch.manual_seed(3)
    plain = TimmBackbone(LITE0).state_dict()
    after = torch.rand(1)
    torch.manual_seed(3)
    frozen = TimmBackbone(LITE0, freeze_at=2)
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(plain[name], x) for name, x in frozen.state_dict().items())
    assert frozen.training


@pytest.mark.parametrize("arm", ["nested", "stock"])
def test_both_arms_train_on_it(timm_cfg, make_input, arm):
    cfg = timm_cfg if arm == "nested" else stock(timm_cfg, *MAPS[1:])
    model = build_model(cfg).train()
    with EventStorage():
        sum(model([make_input(3), make_input(0)]).values()).backward()
    grads = {n for n, x in model.named_parameters() if x.grad is not None and x.grad.any()}
    assert "backbone.bottom_up.network.conv_stem.weight" in grads
    assert model.backbone.size_divisibility == 32
    assert list(model.backbone.output_shape())[-5:] == ["p2", "p3", "p4", "p5", "p6"]


def test_the_stock_arm_is_detectron2s_fpn(timm_cfg):
    backbone = build_model(stock(timm_cfg, *MAPS[1:])).backbone
    assert type(backbone) is FPN
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        levels = backbone.eval()(image)
    assert torch.equal(levels["p6"], levels["p5"][..., ::2, ::2])


def test_stock_cut_to_fewer_stages_keeps_its_levels(timm_cfg, make_input):
    model = build_model(stock(timm_cfg, "res2", "res3"))
    assert list(model.backbone.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    assert len(model.backbone.bottom_up.network.blocks) == 3
    with torch.no_grad():
        levels = model.backbone.eval()(torch.randn(1, 3, 64, 64))
    assert [x.shape[-1] for x in levels.values()] == [16, 8, 4, 2, 1]
    with EventStorage():
        sum(model.train()([make_input(3)]).values()).backward()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_cut_predicts_what_the_full_model_does_at_that_depth(timm_cfg, make_input, depth):
    timm_cfg.MODEL.META_ARCHITECTURE = "EmbeddedRCNN"
    full = build_model(timm_cfg).eval()
    weights = pruned_weights(timm_cfg, full.state_dict(), depth)
    cut = build_model(pruned_config(timm_cfg, depth)).eval()
    cut.load_state_dict(weights)
    assert len(cut.backbone.bottom_up.network.blocks) == {1: 2, 2: 3, 3: 5}[depth]
    full.backbone.extra_depths_at_inference = (depth,)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = cut.backbone(image), full.backbone(image)
    for level, x in ours.items():
        assert torch.equal(x, theirs[f"{level}_d{depth}"])


def test_images_of_other_channels(timm_cfg):
    timm_cfg.MODEL.PIXEL_MEAN = timm_cfg.MODEL.PIXEL_STD = [100.0] * 5
    model = build_model(timm_cfg)
    assert model.backbone.bottom_up.network.conv_stem.in_channels == 5


def bad(**keys):
    return [(key.replace("__", "."), value) for key, value in keys.items()]


@pytest.mark.parametrize(
    "opts, message",
    [
        (bad(MODEL__TIMM__NAME=""), "MODEL.TIMM.NAME is empty"),
        (bad(MODEL__TIMM__NAME="nothing"), "MODEL.TIMM.NAME is nothing.*list_models"),
        (bad(MODEL__TIMM__NORM="GN"), "MODEL.TIMM.NORM is 'GN'.*FrozenBN"),
        (bad(MODEL__TIMM__NAME="convnext_atto"), r"strides \[4, 8, 16, 32\].*\(conv1, res2"),
        (bad(MODEL__TIMM__NAME="vit_tiny_patch16_224"), "which has maps of the strides"),
        (bad(MODEL__NESTED_FPN__ENCODER="build_nothing"), "ENCODER is 'build_nothing'; no backb"),
        (bad(MODEL__FPN__IN_FEATURES=["res2", "res4"]), "strides .4, 16.*double"),
        (bad(MODEL__FPN__IN_FEATURES=["p2", "p3"]), "the maps .'p2', 'p3'.*can be"),
    ],
)
def test_impossible_encoders_are_named(timm_cfg, opts, message):
    for key, value in opts:
        timm_cfg.merge_from_list([key, value])
    timm_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32] * len(timm_cfg.MODEL.FPN.IN_FEATURES)
    with pytest.raises(ConfigError, match=message):
        build_model(timm_cfg)


@pytest.mark.parametrize("maps", [[], ["conv1", "res2"], ["res2", "res4"], ["res3", "res2"]])
def test_impossible_levels_of_the_stock_arm_are_named(timm_cfg, maps):
    with pytest.raises(ConfigError, match="build_timm_fpn_backbone takes neighbours"):
        build_model(stock(timm_cfg, *maps))


def test_without_timm_the_message_says_how_to_get_it(timm_cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'maskrcnnpp\[timm\]'"):
        build_model(timm_cfg)


class Halves(Backbone):
    """Maps of strides that the test chooses."""

    def __init__(self, strides):
        super().__init__()
        self._shapes = {f"s{x}": ShapeSpec(channels=4, stride=x) for x in strides}

    def forward(self, x):
        return {name: x[:, :1, :: s.stride, :: s.stride] for name, s in self._shapes.items()}

    def output_shape(self):
        return self._shapes


@pytest.fixture
def register():
    names = []

    def register(name, strides):
        BACKBONE_REGISTRY._do_register(name, lambda cfg, shape: Halves(strides))
        names.append(name)

    yield register
    for name in names:
        del BACKBONE_REGISTRY._obj_map[name]


def test_a_backbone_of_ones_own(timm_cfg, register):
    register("build_own", [4, 8, 16, 32])
    timm_cfg.MODEL.NESTED_FPN.ENCODER = "build_own"
    timm_cfg.MODEL.FPN.IN_FEATURES = ["s4", "s8", "s16", "s32"]
    timm_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32] * 4
    assert list(build_model(timm_cfg).backbone.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]
    timm_cfg.MODEL.FPN.IN_FEATURES = ["s4", "s8", "s64", "s32"]
    with pytest.raises(ConfigError, match=r"names \['s64'\]; the maps of .*build_own.*'s4': 4"):
        build_model(timm_cfg)


@pytest.mark.parametrize("strides", [[1, 2, 4, 8], [4, 8, 8, 16], [4, 8, 32, 64]])
def test_a_backbone_whose_maps_do_not_halve(timm_cfg, register, strides):
    register("build_own", strides)
    timm_cfg.MODEL.NESTED_FPN.ENCODER = "build_own"
    timm_cfg.MODEL.FPN.IN_FEATURES = [f"s{x}" for x in dict.fromkeys(strides)]
    timm_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32] * len(timm_cfg.MODEL.FPN.IN_FEATURES)
    if len(set(strides)) < 4:
        timm_cfg.MODEL.FPN.IN_FEATURES = ["s4", "s8", "s8", "s16"]
        timm_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32] * 4
    with pytest.raises(ConfigError, match="begin at 2 or more, and double"):
        build_model(timm_cfg)
