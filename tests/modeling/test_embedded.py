import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import split_depths

LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}


@pytest.fixture
def embedded_cfg(tiny_cfg):
    tiny_cfg.MODEL.META_ARCHITECTURE = "EmbeddedRCNN"
    tiny_cfg.MODEL.ROI_HEADS.NAME = "NestedROIHeads"
    return tiny_cfg


def losses_at(model, iteration, batch):
    torch.manual_seed(0)
    with EventStorage(iteration) as storage:
        return model.train()(batch), storage


@pytest.mark.parametrize("mask_head", ["MaskRCNNConvUpsampleHead", "DeepSupervisionMaskHead"])
@pytest.mark.parametrize("roi_heads", ["StandardROIHeads", "NestedROIHeads"])
def test_all_heads_learn_at_one_shallower_depth_in_turn(
    embedded_cfg, make_input, mask_head, roi_heads
):
    embedded_cfg.MODEL.ROI_MASK_HEAD.NAME = mask_head
    embedded_cfg.MODEL.ROI_HEADS.NAME = roi_heads
    model = build_model(embedded_cfg)
    for iteration, depth in enumerate([1, 2, 1]):
        losses, _ = losses_at(model, iteration, [make_input(5), make_input(0)])
        assert set(losses) == LOSSES | {f"{name}_d{depth}" for name in LOSSES}
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_the_full_depth_learns_and_logs_as_without(embedded_cfg, make_input):
    batch = [make_input(5)]
    embedded_cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    model = build_model(embedded_cfg)
    losses, storage = losses_at(model, 0, batch)
    embedded_cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    plain = build_model(embedded_cfg)
    plain.load_state_dict(model.state_dict())  # the same parameters, none added
    expected, logged = losses_at(plain, 0, batch)
    assert {name: losses[name] for name in expected} == expected
    assert storage.latest() == logged.latest()


def test_the_losses_of_a_depth_are_those_of_a_model_of_that_depth(embedded_cfg, make_input):
    embedded_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.5, 1.0]
    deep = build_model(embedded_cfg)
    embedded_cfg.MODEL.NESTED_FPN.DEPTH = 1
    shallow = build_model(embedded_cfg)
    assert not shallow.load_state_dict(deep.state_dict(), strict=False).missing_keys
    # proposals are drawn at random: all of them, here
    for model in (deep, shallow):
        model.roi_heads.batch_size_per_image = model.proposal_generator.batch_size_per_image = 10**6
    ours, _ = losses_at(deep, 0, [make_input(5)])
    theirs, _ = losses_at(shallow, 0, [make_input(5)])
    assert set(theirs) == LOSSES
    for name in LOSSES:
        assert ours[f"{name}_d1"].item() == pytest.approx(0.5 * theirs[name].item(), rel=1e-4), name


@pytest.mark.parametrize("row0", ["conv1", "res2"])
@pytest.mark.parametrize("connections", ["dense", "adjacent", "ensemble"])
def test_every_parameter_has_a_gradient_in_every_iteration(
    embedded_cfg, make_input, connections, row0
):
    """What DistributedDataParallel asks for; also without any object in the batch."""
    if row0 == "conv1":
        embedded_cfg.MODEL.FPN.IN_FEATURES = ["conv1", "res2", "res3", "res4"]
        embedded_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32]
        embedded_cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5"]
        embedded_cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4"]
        embedded_cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64]]
    embedded_cfg.MODEL.NESTED_FPN.CONNECTIONS = connections
    for architecture in ("EmbeddedRCNN", "GeneralizedRCNN"):
        embedded_cfg.MODEL.META_ARCHITECTURE = architecture
        model = build_model(embedded_cfg)
        for iteration, objects in enumerate([5, 0]):
            model.zero_grad()
            losses, _ = losses_at(model, iteration, [make_input(objects)])
            sum(losses.values()).backward()
            assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_shallower_depth_samples_a_part_of_the_rois(embedded_cfg, make_input, monkeypatch):
    embedded_cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 15
    embedded_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.ROI_FRACTION = 0.5
    model = build_model(embedded_cfg)
    sampled = []
    sample = model.roi_heads.label_and_sample_proposals

    def counted(*args):
        proposals = sample(*args)
        sampled.extend(len(x) for x in proposals)
        return proposals

    monkeypatch.setattr(model.roi_heads, "label_and_sample_proposals", counted)
    losses_at(model, 0, [make_input(5)])
    assert sampled == [15, 8]
    assert model.roi_heads.batch_size_per_image == 15


def test_a_shallow_depth_trains_every_head(embedded_cfg, make_input):
    model = build_model(embedded_cfg)
    losses, _ = losses_at(model, 0, [make_input(5)])
    sum(loss for name, loss in losses.items() if name.endswith("_d1")).backward()
    for part in (
        "proposal_generator",
        "roi_heads.box_head",
        "roi_heads.mask_head",
        "backbone.grid",
    ):
        weights = list(model.get_submodule(part).parameters())
        assert any(w.grad is not None and w.grad.any() for w in weights), part
    assert model.backbone.grid.x_0_3[0].weight.grad is None  # of the full depth only


def test_a_stock_pyramid_has_nothing_shallower(embedded_cfg, make_input):
    embedded_cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    losses, _ = losses_at(build_model(embedded_cfg), 0, [make_input(5)])
    assert set(losses) == LOSSES


def test_inference_is_that_of_the_stock_architecture(embedded_cfg, make_input):
    embedded_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model = build_model(embedded_cfg).eval()
    embedded_cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    plain = build_model(embedded_cfg).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        (ours,), (theirs,) = model([make_input(3)]), plain([make_input(3)])
    assert torch.equal(ours["instances"].pred_masks, theirs["instances"].pred_masks)


def test_precomputed_proposals_belong_to_one_depth(embedded_cfg):
    embedded_cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    with pytest.raises(ConfigError, match="PROPOSAL_GENERATOR"):
        build_model(embedded_cfg)


def test_depths_are_told_apart_by_name():
    features = {"p2": 0, "p6": 1, "p2_d1": 2, "p6_d1": 3}
    assert split_depths(features) == {None: {"p2": 0, "p6": 1}, 1: {"p2": 2, "p6": 3}}


def test_an_ensemble_of_masks_needs_the_head_that_makes_it(embedded_cfg):
    embedded_cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    embedded_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.MODE = "ensemble"
    with pytest.raises(ConfigError, match="MODE is 'ensemble'.*DeepSupervisionMaskHead"):
        build_model(embedded_cfg)
