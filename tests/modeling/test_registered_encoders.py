"""MODEL.NESTED_FPN.ENCODER: backbones of Detectron2 that a user registered, cut and frozen."""

import copy
import logging

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone, build_model
from detectron2.modeling.backbone import (
    FPN,
    BasicStem,
    MViT,
    RegNet,
    ResNet,
    SimpleFeaturePyramid,
    SwinTransformer,
    ViT,
)
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.regnet import ResBottleneckBlock, SimpleStem
from detectron2.modeling.backbone.resnet import BasicBlock
from detectron2.utils.events import EventStorage

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import split_depths
from maskrcnnpp.modeling.encoder_cuts import keep_maps
from maskrcnnpp.modeling.pruning import pruned_config, pruned_weights


def resnet(cfg):
    strides, widths = (1, 2, 2, 2), (8, 12, 16, 24)
    stages = [
        ResNet.make_stage(
            BasicBlock, 1, stride_per_block=[s], in_channels=w_in, out_channels=w, norm="BN"
        )
        for s, w_in, w in zip(strides, (8, *widths), widths)
    ]
    stem = BasicStem(3, 8, norm="BN")
    out = ["res2", "res3", "res4", "res5"]
    return ResNet(stem, stages, out_features=out, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


def regnet(cfg, out_features=("s1", "s2", "s3", "s4")):
    return RegNet(
        stem_class=SimpleStem,
        stem_width=8,
        block_class=ResBottleneckBlock,
        depth=8,
        w_a=8,
        w_0=8,
        w_m=2,
        group_width=8,
        se_ratio=0.25,
        norm="BN",
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        out_features=list(out_features),
    )


def regnet_with_stem(cfg):
    return regnet(cfg, ("stem", "s1", "s2", "s3", "s4"))


def swin(cfg):
    return SwinTransformer(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        frozen_stages=cfg.MODEL.BACKBONE.FREEZE_AT or -1,
    )


def mvit(cfg):
    return MViT(embed_dim=8, depth=5, last_block_indexes=(0, 1, 3, 4))


def vit(cfg):
    net = ViT(img_size=64, patch_size=16, embed_dim=16, depth=1, num_heads=1, out_feature="last")
    return SimpleFeaturePyramid(
        net, "last", 8, (4.0, 2.0, 1.0, 0.5), top_block=LastLevelMaxPool(), square_pad=64
    )


def stock_fpn(cfg):
    return FPN(resnet(cfg), ["res2", "res3", "res4", "res5"], 8)


def one_size(cfg):
    return ViT(img_size=64, patch_size=16, embed_dim=16, depth=1, num_heads=1, out_feature="last")


#: Builder, its maps for the rows, and the modules that are gone at depth 1.
ENCODERS = {
    "resnet": (resnet, ["res2", "res3", "res4", "res5"], ["res4", "res5"]),
    "regnet": (regnet, ["s1", "s2", "s3", "s4"], ["s3", "s4"]),
    "regnet_with_stem": (regnet_with_stem, ["stem", "s1", "s2", "s3", "s4"], ["s2", "s3", "s4"]),
    "swin": (
        swin,
        ["p0", "p1", "p2", "p3"],
        ["layers.2", "layers.3", "layers.1.downsample", "norm2", "norm3"],
    ),
    "mvit": (
        mvit,
        ["scale2", "scale3", "scale4", "scale5"],
        ["blocks.2", "blocks.3", "blocks.4", "scale4_norm", "scale5_norm"],
    ),
    "vit": (vit, ["p2", "p3", "p4", "p5"], ["simfp_4", "simfp_5"]),
    "stock_fpn": (stock_fpn, ["p2", "p3", "p4", "p5"], []),
    "one_size": (one_size, ["last"], []),
}
CUT = [name for name in ENCODERS if name not in ("stock_fpn", "one_size")]

for _name, (_build, *_) in ENCODERS.items():
    BACKBONE_REGISTRY._do_register(f"users_{_name}", lambda cfg, _, build=_build: build(cfg))


@pytest.fixture
def encoder_cfg(tiny_cfg):
    """``encoder_cfg(name)``: of Mask R-CNN++ over that encoder."""

    def make(name):
        rows = ENCODERS[name][1]
        tiny_cfg.MODEL.BACKBONE.NAME = "build_nested_fpn_backbone"
        tiny_cfg.MODEL.NESTED_FPN.ENCODER = f"users_{name}"
        tiny_cfg.MODEL.FPN.IN_FEATURES = list(rows)
        tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16] * len(rows)
        tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0] * (len(rows) - 2)
        tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
        return tiny_cfg

    return make


def modules(model):
    return {name for name, _ in model.named_modules()}


@pytest.mark.parametrize("name", CUT)
def test_a_cut_encoder_gives_the_same_maps_and_has_fewer_parameters(tiny_cfg, name):
    build, rows, _ = ENCODERS[name]
    full = build(tiny_cfg).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = full(image)
    sizes = []
    first_of_rows = [rows[: last + 1] for last in range(len(rows))]
    for maps in (*first_of_rows, rows[1:], rows[1:-1]):
        cut = copy.deepcopy(full)
        keep_maps(cut, maps)
        found = cut(image)
        assert list(found) == list(cut.output_shape()) == maps
        assert all(torch.equal(found[key], expected[key]) for key in found)
        for key, shape in cut.output_shape().items():
            assert found[key].shape == (2, shape.channels, 64 // shape.stride, 64 // shape.stride)
        assert cut.state_dict().keys() <= full.state_dict().keys()
        sizes.append(sum(x.numel() for x in cut.parameters()))
        # nothing is left that no map is computed from
        sum(x.sum() for x in found.values()).backward()
        assert [key for key, p in cut.named_parameters() if p.grad is None] == []
    assert sizes[: len(rows)] == sorted(set(sizes[: len(rows)]))


def test_a_simple_pyramid_keeps_the_level_on_top_where_it_is_a_row(tiny_cfg):
    full = vit(tiny_cfg).eval()
    cut = copy.deepcopy(full)
    keep_maps(cut, ["p3", "p4", "p5", "p6"])
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found, expected = cut(image), full(image)
    assert list(found) == ["p3", "p4", "p5", "p6"] and not hasattr(cut, "simfp_2")
    assert all(torch.equal(x, expected[key]) for key, x in found.items())


@pytest.mark.parametrize("name", CUT)
def test_a_cut_model_predicts_what_the_full_one_does_at_that_depth(encoder_cfg, make_input, name):
    cfg = encoder_cfg(name)
    full = build_model(cfg).eval()
    cut = build_model(pruned_config(cfg, 1)).eval()
    cut.load_state_dict(pruned_weights(cfg, full.state_dict(), 1))
    gone = {f"backbone.bottom_up.{part}" for part in ENCODERS[name][2]}
    assert gone <= modules(full) and not gone & modules(cut)

    full.backbone.extra_depths_at_inference = (1,)
    images = full.preprocess_image([make_input(3)])
    with torch.no_grad():
        (ours,) = cut.inference([make_input(3)], do_postprocess=False)
        features = split_depths(full.backbone(images.tensor))[1]
        proposals, _ = full.proposal_generator(images, features, None)
        ((theirs,), _) = full.roi_heads(images, features, proposals, None)
    assert len(ours) > 0
    assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.pred_masks, theirs.pred_masks)


FROZEN = {
    "resnet": ["stem", "res2"],
    "regnet": ["stem", "s1"],
    "swin": ["patch_embed", "layers.0"],
}


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_part_stays_as_it_is(encoder_cfg, make_input, name, depth):
    cfg = encoder_cfg(name)
    cfg.MODEL.BACKBONE.FREEZE_AT = 2
    cfg.MODEL.NESTED_FPN.DEPTH = depth
    model = build_model(cfg).train()
    before = copy.deepcopy(model.backbone.bottom_up.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    waiting = {key for key, p in model.named_parameters() if p.requires_grad}
    for iteration in range(2):
        with EventStorage(iteration):
            sum(model([make_input(5)]).values()).backward()
        optimizer.step()
        waiting -= {key for key, p in model.named_parameters() if p.grad is not None}
    assert waiting == set()
    after = model.backbone.bottom_up.state_dict()
    frozen = [key for key in after if key.startswith(tuple(f"{x}." for x in FROZEN[name]))]
    assert frozen and all(torch.equal(after[key], before[key]) for key in frozen)
    assert any(not torch.equal(x, before[key]) for key, x in after.items() if key not in frozen)


@pytest.mark.parametrize("name", ["resnet", "swin", "mvit", "regnet"])
def test_inputs_are_padded_as_at_full_depth(encoder_cfg, name):
    cfg = encoder_cfg(name)
    for depth in (0, 1):
        cfg.MODEL.NESTED_FPN.DEPTH = depth
        backbone = build_backbone(cfg, ShapeSpec(channels=3)).eval()
        assert backbone.size_divisibility == 32
        assert backbone.padding_constraints == {}
        with torch.no_grad():
            features = backbone(torch.randn(1, 3, 64, 96))
        assert {key: tuple(x.shape[-2:]) for key, x in features.items()} == {
            f"p{k}": (64 // 2**k, 96 // 2**k) for k in range(2, 7)
        } | {"p6": (1, 2)}


def test_a_vit_keeps_its_square(encoder_cfg):
    cfg = encoder_cfg("vit")
    for depth in (0, 1):
        cfg.MODEL.NESTED_FPN.DEPTH = depth
        backbone = build_backbone(cfg, ShapeSpec(channels=3))
        assert backbone.padding_constraints == {"square_size": 64}


def test_an_encoder_that_cannot_be_cut_says_so_and_works(encoder_cfg, caplog):
    cfg = encoder_cfg("stock_fpn")
    cfg.MODEL.NESTED_FPN.DEPTH = 1
    with caplog.at_level(logging.WARNING):
        backbone = build_backbone(cfg, ShapeSpec(channels=3)).eval()
    assert "FPN has no stages that could be removed: it computes p4, p5" in caplog.text
    with torch.no_grad():
        assert list(backbone(torch.randn(1, 3, 64, 64))) == ["p2", "p3", "p4", "p5", "p6"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.NESTED_FPN.ENCODER", "nobody", "MODEL.NESTED_FPN.ENCODER is 'nobody'.*registered"),
        ("MODEL.NESTED_FPN.ENCODER", "users_one_size", r"names .*'s1'.*are {'last': 16}"),
        ("MODEL.FPN.IN_FEATURES", ["s1", "s2", "s4", "s3"], r"strides \[4, 8, 32, 16\].*double"),
        ("MODEL.FPN.IN_FEATURES", ["s1", "s2", "s3", "s5"], "names .'s5'.*'s4': 32"),
    ],
)
def test_an_encoder_that_does_not_fit(encoder_cfg, key, value, message):
    cfg = encoder_cfg("regnet")
    cfg.merge_from_list([key, value])
    with pytest.raises(ConfigError, match=message):
        build_backbone(cfg, ShapeSpec(channels=3))
