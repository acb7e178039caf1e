from functools import partial

import pytest
import torch
from detectron2.modeling import build_model

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.checkpoint import Checkpointer, load_weights, read_checkpoint
from maskrcnnpp.modeling.depths import split_depths
from maskrcnnpp.modeling.pruning import pruned_config, pruned_weights


@pytest.fixture
def deep_cfg(tiny_cfg):
    """Depth 4, on a row of stride 2."""
    tiny_cfg.MODEL.FPN.IN_FEATURES = ["conv1", "res2", "res3", "res4", "res5"]
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    tiny_cfg.MODEL.ROI_HEADS.NAME = "NestedROIHeads"
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0, 1.0, 1.0]
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    return tiny_cfg


def at_depth(model, batch, depth):
    """What the full model predicts from the pyramid of a depth."""
    model.backbone.extra_depths_at_inference = (depth,)
    images = model.preprocess_image(batch)
    features = split_depths(model.backbone(images.tensor))[depth]
    proposals, _ = model.proposal_generator(images, features, None)
    return model.roi_heads(images, features, proposals, None)[0]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_predicts_what_the_full_model_does_at_that_depth(deep_cfg, make_input, depth):
    full = build_model(deep_cfg).eval()
    pruned = build_model(pruned_config(deep_cfg, depth)).eval()
    pruned.load_state_dict(pruned_weights(deep_cfg, full.state_dict(), depth), strict=True)
    batch = [make_input(3), make_input(0)]
    with torch.no_grad():
        ours = pruned.inference(batch, do_postprocess=False)
        theirs = at_depth(full, batch, depth)
    assert sum(map(len, ours)) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert set(mine.get_fields()) == set(other.get_fields())
        assert torch.equal(mine.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.equal(mine.scores, other.scores)
        assert torch.equal(mine.pred_masks, other.pred_masks)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_cut_of_a_fine_row_of_one_node(deep_cfg, make_input, depth):
    deep_cfg.MODEL.NESTED_FPN.FINE_ROW = "last"
    full = build_model(deep_cfg).eval()
    weights = pruned_weights(deep_cfg, full.state_dict(), depth)
    assert [
        name for name in weights if ".x_0_" in name and "weight" in name and ".0.w" in name
    ] == [f"backbone.grid.x_0_{depth}.0.weight"]
    cut = build_model(pruned_config(deep_cfg, depth)).eval()
    cut.load_state_dict(weights)
    with torch.no_grad():
        ours = cut.inference([make_input(3)], do_postprocess=False)[0]
        theirs = at_depth(full, [make_input(3)], depth)[0]
    assert len(ours) and torch.equal(ours.pred_masks, theirs.pred_masks)

    deep_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.0, 0.0, 0.0]
    alone = build_model(deep_cfg).state_dict()
    with pytest.raises(ConfigError, match=f"depth {depth} has not been trained.*FINE_ROW last"):
        pruned_weights(deep_cfg, alone, depth)


def test_the_full_depth_keeps_everything(deep_cfg):
    weights = build_model(deep_cfg).state_dict()
    assert pruned_weights(deep_cfg, weights, 4).keys() == weights.keys()


def test_what_is_left_shrinks_with_the_depth(deep_cfg):
    weights = build_model(deep_cfg).state_dict()
    cuts = [pruned_weights(deep_cfg, weights, depth) for depth in (1, 2, 3, 4)]
    sizes = [sum(x.numel() for x in cut.values()) for cut in cuts]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    assert not any(word in name for name in cuts[1] for word in ("res4", "lateral4", "x_0_3"))


@pytest.mark.parametrize("depth", [0, -1, 5])
def test_a_depth_out_of_range(deep_cfg, depth):
    with pytest.raises(
        ConfigError, match=rf"depth 4 .*DEPTH 0. cannot be pruned to depth {depth}: choose"
    ):
        pruned_config(deep_cfg, depth)


def test_a_stock_pyramid_has_no_depth(deep_cfg):
    deep_cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    with pytest.raises(ConfigError, match="MODEL.BACKBONE.NAME"):
        pruned_config(deep_cfg, 1)


def another(cfg, key, value):
    cfg = cfg.clone()
    cfg.merge_from_list([key, value])
    return cfg


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("MODEL.NESTED_FPN.CONNECTIONS", "adjacent", "x_0_2"),
        ("MODEL.NESTED_FPN.ROW_CHANNELS", [24, 32, 32, 32, 32], "lateral1"),
        ("MODEL.NESTED_FPN.ROW_CHANNELS", [48, 64, 64, 64, 64], "lateral1"),
        ("MODEL.NESTED_FPN.NUM_CONVS", 2, "x_0_1"),
        ("MODEL.FPN.NORM", "", "lateral1"),
    ],
)
def test_weights_of_another_grid(deep_cfg, tmp_path, key, value, name):
    weights = build_model(deep_cfg).state_dict()
    cfg = another(deep_cfg, key, value)
    with pytest.raises(ConfigError, match=f"another grid: backbone.*{name}"):
        pruned_weights(cfg, weights, 2)
    # and not at random through Detectron2's loader, which leaves out what has another shape
    cfg.MODEL.WEIGHTS = str(tmp_path / "other.pth")
    torch.save({"model": weights}, cfg.MODEL.WEIGHTS)
    for resume in (False, True):  # there is nothing yet to go on from
        load = partial(Checkpointer(build_model(cfg)).resume_or_load, cfg.MODEL.WEIGHTS)
        with pytest.raises(ConfigError, match="other.pth.*another grid"):
            load_weights(load, cfg, resume=resume)


@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "wrapped"])
@pytest.mark.parametrize("entry", [True, False], ids=["checkpoint", "state dict"])
def test_weights_as_people_have_them(deep_cfg, tmp_path, prefix, entry):
    model = build_model(deep_cfg)
    weights = {prefix + name: x for name, x in model.state_dict().items()}
    deep_cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    torch.save({"model": weights} if entry else weights, deep_cfg.MODEL.WEIGHTS)
    other = build_model(deep_cfg)
    load = partial(Checkpointer(other).resume_or_load, deep_cfg.MODEL.WEIGHTS)
    load_weights(load, deep_cfg, resume=False)
    for name, x in other.state_dict().items():
        assert torch.equal(x, model.state_dict()[name]), name
    read = read_checkpoint(deep_cfg.MODEL.WEIGHTS)["model"]
    assert pruned_weights(deep_cfg, read, 2)


def test_weights_of_other_rows(deep_cfg):
    weights = build_model(deep_cfg).state_dict()
    cfg = another(deep_cfg, "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"])
    cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32, 32, 32, 32]
    for theirs, mine in ((weights, cfg), (build_model(cfg).state_dict(), deep_cfg)):
        with pytest.raises(ConfigError, match="another grid.*MODEL.FPN.IN_FEATURES"):
            build_model(mine).load_state_dict(theirs, strict=False)


def test_weights_without_a_grid_are_a_beginning(deep_cfg):
    stock = another(deep_cfg, "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone")
    stock.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    weights = build_model(stock).state_dict()
    build_model(deep_cfg).load_state_dict(weights, strict=False)
    with pytest.raises(ConfigError, match="not of a model of this config.* is missing"):
        pruned_weights(deep_cfg, {}, 2)


def test_plain_decoders_are_cut_to_one(deep_cfg):
    deep_cfg.MODEL.NESTED_FPN.CONNECTIONS = "ensemble"
    cut = pruned_weights(deep_cfg, build_model(deep_cfg).state_dict(), 3)
    nodes = {name.split(".")[2] for name in cut if ".grid." in name}
    assert nodes == {"x_0_3", "x_1_2", "x_2_1"}


def test_a_cut_has_the_masks_of_its_depth_only(deep_cfg):
    deep_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.MODE = "ensemble"
    deep_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.0, 0.0, 1.0]
    cut = build_model(pruned_config(deep_cfg, 2))
    assert cut.backbone.extra_depths_at_inference == ()


def test_weights_deeper_than_the_config(deep_cfg):
    weights = build_model(deep_cfg).state_dict()
    deep_cfg.MODEL.NESTED_FPN.DEPTH = 2
    for depth in (1, 3):
        message = "of depth 4, the config of depth 2: set MODEL.NESTED_FPN.DEPTH to 4"
        with pytest.raises(ConfigError, match=message):
            pruned_weights(deep_cfg, weights, depth)


def test_depths_of_plain_decoders_that_were_not_trained(deep_cfg):
    deep_cfg.MODEL.NESTED_FPN.CONNECTIONS = "ensemble"
    deep_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0, 0.0, 1.0]
    weights = build_model(deep_cfg).state_dict()
    with pytest.raises(ConfigError, match="depth 2 has not been trained.*WEIGHTS"):
        pruned_weights(deep_cfg, weights, 2)
    deep_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0, 1.0, 1.0]
    with pytest.raises(ConfigError, match="depth 2 has not been trained.*WEIGHTS"):
        build_model(deep_cfg).load_state_dict(weights, strict=False)


def test_weights_that_were_cut_before(deep_cfg):
    weights = pruned_weights(deep_cfg, build_model(deep_cfg).state_dict(), 2)
    message = "depth 2, the config asks for depth 4: set MODEL.NESTED_FPN.DEPTH to 2"
    with pytest.raises(ConfigError, match=message):
        pruned_weights(deep_cfg, weights, 1)
    with pytest.raises(ConfigError, match=message):
        build_model(deep_cfg).load_state_dict(weights, strict=False)
    deep_cfg.MODEL.NESTED_FPN.DEPTH = 2
    assert pruned_weights(deep_cfg, weights, 1)
