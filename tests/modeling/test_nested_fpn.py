import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_model
from detectron2.utils.events import EventStorage
from fvcore.nn import FlopCountAnalysis

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.blocks import conv_block


def build(cfg):
    return build_backbone(cfg, ShapeSpec(channels=3))


def stock_of(cfg):
    cfg = cfg.clone()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    return cfg


@pytest.mark.parametrize("resnet", [18, 34, 50, 101])
def test_it_is_a_drop_in_for_the_stock_fpn(tiny_cfg, resnet):
    tiny_cfg.MODEL.RESNETS.DEPTH = resnet
    tiny_cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64 if resnet < 50 else 256
    nested, stock = build(tiny_cfg).eval(), build(stock_of(tiny_cfg)).eval()
    assert nested.output_shape() == stock.output_shape()
    assert nested.size_divisibility == stock.size_divisibility == 32
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = nested(image), stock(image)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert list(ours) == list(theirs)


def with_conv1(cfg):
    cfg.MODEL.FPN.IN_FEATURES = ["conv1", "res2", "res3", "res4", "res5"]
    cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0] * 3
    return cfg


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_row_of_stride_2(tiny_cfg, depth):
    with_conv1(tiny_cfg).MODEL.NESTED_FPN.DEPTH = depth
    backbone = build(tiny_cfg).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 96, 64))
    assert {name: tuple(x.shape[-2:]) for name, x in features.items()} == {
        "p1": (48, 32), "p2": (24, 16), "p3": (12, 8), "p4": (6, 4), "p5": (3, 2), "p6": (2, 1),
    }  # fmt: skip
    shapes = backbone.output_shape()
    assert {name: shape.stride for name, shape in shapes.items()} == {
        f"p{k}": 2**k for k in range(1, 7)
    }
    assert {name: features[name].shape[1] for name in features} == {
        name: shape.channels for name, shape in shapes.items()
    }
    assert shapes["p1"].channels == 16  # of its row
    assert backbone.size_divisibility == 32
    assert [n for n, _ in backbone.bottom_up.named_children()][-1] == f"res{depth + 1}"


def test_stock_weights_load_below_a_row_of_stride_2(tiny_cfg):
    stock = build(stock_of(tiny_cfg)).state_dict()
    ours = build(with_conv1(tiny_cfg)).state_dict()
    assert all(ours[name].shape == stock[name].shape for name in stock if "bottom_up" in name)
    assert set(stock) <= set(ours)


def test_stock_names_stay_where_they_mean_the_same(tiny_cfg):
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [tiny_cfg.MODEL.FPN.OUT_CHANNELS] * 4
    ours, theirs = build(tiny_cfg).state_dict(), build(stock_of(tiny_cfg)).state_dict()
    assert all(ours[name].shape == theirs[name].shape for name in theirs)
    assert all(name.startswith("grid.") for name in set(ours) - set(theirs))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_depth_has_all_levels(tiny_cfg, depth):
    tiny_cfg.MODEL.NESTED_FPN.DEPTH = depth
    backbone = build(tiny_cfg).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 96, 64))
    assert [tuple(features[f"p{k}"].shape[-2:]) for k in range(2, 7)] == [
        (24, 16), (12, 8), (6, 4), (3, 2), (2, 1),
    ]  # fmt: skip
    assert backbone.size_divisibility == 32
    assert [n for n, _ in backbone.bottom_up.named_children()][-1] == f"res{depth + 2}"
    assert len(backbone.grid.nodes) == depth * (depth + 1) // 2


@pytest.mark.parametrize("depth", [1, 2])
def test_levels_above_the_depth_are_pooled_from_its_last(tiny_cfg, depth):
    tiny_cfg.MODEL.NESTED_FPN.DEPTH = depth
    backbone = build(tiny_cfg).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 64, 64))
    last = features[f"p{depth + 2}"]
    assert torch.equal(features[f"p{depth + 3}"], last[..., ::2, ::2])


def test_the_shallow_pyramid_of_a_deep_model_is_that_of_a_shallow_model(tiny_cfg):
    deep = build(tiny_cfg)
    tiny_cfg.MODEL.NESTED_FPN.DEPTH = 1
    shallow = build(tiny_cfg)
    missing, _ = shallow.load_state_dict(deep.state_dict(), strict=False)
    assert not missing
    deep.extra_depths_at_inference = (1, 2)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = shallow.eval()(image), deep.eval()(image)
    for level in ("p2", "p3", "p4", "p5", "p6"):
        assert torch.equal(ours[level], theirs[f"{level}_d1"])


def test_shallow_pyramids_come_in_training_only(tiny_cfg):
    backbone = build(tiny_cfg)
    image = torch.randn(2, 3, 64, 64)
    stock_names = ["p2", "p3", "p4", "p5", "p6"]
    for iteration, depth in enumerate([1, 2, 1]):
        with EventStorage(iteration):
            training = list(backbone.train()(image))
        assert training == stock_names + [f"{p}_d{depth}" for p in stock_names]
    assert list(backbone.eval()(image)) == stock_names


def test_a_stock_mask_head_gets_no_shallow_pyramids(tiny_cfg):
    tiny_cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    assert len(build(tiny_cfg).train()(torch.randn(2, 3, 64, 64))) == 5


def test_gradients_reach_every_parameter(tiny_cfg):
    backbone = build(tiny_cfg)
    backbone.extra_depths_in_training = ()
    sum(x.square().sum() for x in backbone.train()(torch.randn(2, 3, 64, 64)).values()).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("size", [(33, 65), (97, 129)])
def test_odd_sizes_that_nobody_padded(tiny_cfg, size):
    features = build(with_conv1(tiny_cfg)).eval()(torch.randn(1, 3, *size))
    sizes = {f"p{k}": tuple(-(-n // 2**k) for n in size) for k in range(1, 6)}
    assert sizes == {name: tuple(features[name].shape[-2:]) for name in sizes}


def test_fewer_stages(tiny_cfg):
    tiny_cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4"]
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32, 32, 32]
    tiny_cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    tiny_cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4"]
    backbone = build(tiny_cfg).eval()
    assert list(backbone(torch.randn(1, 3, 64, 64))) == ["p2", "p3", "p4", "p5"]
    assert backbone.size_divisibility == 16


def test_the_config_of_the_caller_is_left_alone(tiny_cfg):
    tiny_cfg.MODEL.NESTED_FPN.DEPTH = 1
    before = tiny_cfg.dump()
    tiny_cfg.freeze()
    build(tiny_cfg)
    assert tiny_cfg.dump() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("MODEL.ROI_HEADS.NAME", "StandardROIHeads"), ("MODEL.MASK_ON", False)],
)
def test_a_row_that_nothing_reads(tiny_cfg, key, value):
    with_conv1(tiny_cfg).merge_from_list([key, value])
    with pytest.raises(ConfigError, match=key):
        build(tiny_cfg)


@pytest.mark.parametrize("value", [[], ["boxes", "keypoints"], ["mask"]])
def test_unknown_readers_of_the_finest_level(tiny_cfg, value):
    with_conv1(tiny_cfg).MODEL.NESTED_FPN.FINE_LEVEL_READERS = value
    with pytest.raises(ConfigError, match="FINE_LEVEL_READERS is .*; it can be masks, boxes"):
        build(tiny_cfg)


def test_boxes_alone_can_read_the_finest_level(tiny_cfg):
    with_conv1(tiny_cfg).MODEL.NESTED_FPN.FINE_LEVEL_READERS = ["boxes"]
    tiny_cfg.MODEL.MASK_ON = False
    assert build_model(tiny_cfg).roi_heads.box_in_features[0] == "p1"


def test_only_the_mask_head_reads_the_finest_level(tiny_cfg):
    for part in ("RPN", "ROI_HEADS"):
        cfg = with_conv1(tiny_cfg).clone()
        cfg.MODEL[part].IN_FEATURES = ["p1", "p2", "p3", "p4", "p5"]
        with pytest.raises(ConfigError, match=f"MODEL.{part}.IN_FEATURES names .'p1'"):
            build(cfg)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.NESTED_FPN.DEPTH", 4),
        ("MODEL.NESTED_FPN.DEPTH", -1),
        ("MODEL.NESTED_FPN.CONNECTIONS", "sparse"),
        ("MODEL.NESTED_FPN.UPSAMPLE", "cubic"),
        ("MODEL.NESTED_FPN.FINE_ROW", "first"),
        ("MODEL.NESTED_FPN.NUM_CONVS", 0),
        ("MODEL.NESTED_FPN.NODE", "sparse"),
        ("MODEL.NESTED_FPN.ROW_CHANNELS", [32, 32, 32]),
        ("MODEL.NESTED_FPN.ROW_CHANNELS", [32, 32, 32, 0]),
        ("MODEL.NESTED_FPN.ROW_CHANNELS", [33, 32, 32, 32]),
        ("MODEL.NESTED_FPN.ROW_CHANNELS", [32, 32, 32, 72]),
        ("MODEL.FPN.OUT_CHANNELS", 48),
        ("MODEL.NESTED_FPN.ROW_CHANNELS", [32.5, 32, 32, 32]),
        ("MODEL.FPN.NORM", "Nope"),
        ("MODEL.ROI_MASK_HEAD.NAME", "Nope"),
        ("MODEL.FPN.IN_FEATURES", ["res2", "res4", "res5"]),
        ("MODEL.FPN.IN_FEATURES", ["res5", "res4", "res3", "res2"]),
        ("MODEL.FPN.IN_FEATURES", ["res5"]),
        ("MODEL.FPN.IN_FEATURES", ["stem", "res2", "res3", "res4"]),
        ("MODEL.FPN.IN_FEATURES", []),
        ("MODEL.ROI_HEADS.IN_FEATURES", ["p1", "p2"]),
        ("MODEL.RPN.IN_FEATURES", ["p2", "p7"]),
        ("MODEL.FPN.FUSE_TYPE", "avg"),
        ("MODEL.RESNETS.RES5_DILATION", 2),
        ("MODEL.ROI_HEADS.NAME", "StandardROIHeads"),
        ("MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS", [1.0]),
    ],
)
def test_an_impossible_value_fails_by_the_name_of_its_key(tiny_cfg, key, value):
    tiny_cfg.merge_from_list([key, value])
    with pytest.raises(ConfigError, match=key):
        build(tiny_cfg)


def test_groups_of_a_narrow_row_have_two_channels(tiny_cfg):
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 40, 64, 256]
    groups = {
        norm.num_channels: norm.num_channels // norm.num_groups
        for name, norm in build(tiny_cfg).named_modules()
        if isinstance(norm, torch.nn.GroupNorm) and ("grid" in name or "lateral" in name)
    }
    assert groups == {16: 2, 40: 2, 64: 2, 256: 8}  # from 64 on as in Detectron2


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_depth_computes_what_it_needs_and_nothing_else(tiny_cfg, depth):
    """Convolutions and multiply-adds of a depth, against the formula."""
    tiny_cfg = with_conv1(tiny_cfg)
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = widths = [16, 32, 32, 64, 64]
    encoder_widths = [64, 64, 128, 256, 512]
    tiny_cfg.MODEL.NESTED_FPN.DEPTH = depth
    tiny_cfg.MODEL.FPN.OUT_CHANNELS = 32
    backbone = build(tiny_cfg).eval()
    convs = {n: m for n, m in backbone.named_modules() if isinstance(m, torch.nn.Conv2d)}
    ran = []
    for name, module in convs.items():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    size = 64
    image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        backbone(image)

    assert sorted(ran) == sorted(convs)  # each once
    nodes = [(i, j) for i in range(depth) for j in range(1, depth + 1 - i)]
    assert sum("grid" in name for name in ran) == len(nodes) == depth * (depth + 1) // 2
    assert sum("lateral" in name for name in ran) == depth + 1
    assert sum("output" in name for name in ran) == depth  # p1 is a node as it is
    stages = {name.split(".")[1] for name in ran if name.startswith("bottom_up.res")}
    assert stages == {f"res{k}" for k in range(2, depth + 2)}

    pixels = [(size // 2 ** (row + 1)) ** 2 for row in range(depth + 1)]
    inputs = {(i, j): j * widths[i] + widths[i + 1] for i, j in nodes}
    expected = sum(9 * inputs[i, j] * widths[i] * pixels[i] for i, j in nodes)
    expected += sum(encoder_widths[i] * widths[i] * pixels[i] for i in range(depth + 1))
    expected += sum(9 * widths[i] * 32 * pixels[i] for i in range(1, depth + 1))
    analysis = FlopCountAnalysis(backbone, image).unsupported_ops_warnings(False)
    by_module = analysis.tracer_warnings("none").by_module_and_operator()
    assert by_module[""]["conv"] - by_module["bottom_up"]["conv"] == expected


def test_separable_nodes_keep_the_scale_of_their_input_and_mix_channels_at_one_pixel():
    torch.manual_seed(0)
    node = conv_block(48, 32, 1, "", "separable")
    x = torch.randn(2, 48, 32, 32)
    assert 0.3 < node[:-1](x).std() < 3
    point = torch.zeros(1, 48, 9, 9)
    point[..., 4, 4] = 1
    base = node(torch.zeros_like(point))
    reached = (node(point) - base).abs().sum(dim=(0, 1)) > 0
    assert reached.nonzero().min() == 2 and reached.nonzero().max() == 6  # 5x5
