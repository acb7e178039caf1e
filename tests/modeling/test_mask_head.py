import pytest
import torch
from detectron2.layers import ShapeSpec, paste_masks_in_image
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_loss
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import shallower_depths
from maskrcnnpp.modeling.losses import (
    cross_entropy_dice_loss,
    cross_entropy_loss,
    soft_dice_loss,
)
from maskrcnnpp.modeling.mask_boxes import (
    boxes_of_masks,
    mask_scores,
    masks_in_boxes,
    widened,
)
from maskrcnnpp.modeling.mask_head import DeepSupervisionMaskHead

MASK_LOSSES = {"loss_mask", "loss_mask_d1", "loss_mask_d2"}


def make_head(**kwargs):
    torch.manual_seed(0)
    shape = ShapeSpec(channels=8, height=14, width=14)
    return DeepSupervisionMaskHead(shape, num_classes=2, conv_dims=[8, 8], **kwargs)


def proposals(make_input, *counts):
    result = []
    for count in counts:
        x = make_input(count)["instances"]
        x.proposal_boxes = x.gt_boxes.clone()
        result.append(x)
    return result


def losses_of(model, batch, iterations=2):
    """Losses by name, of as many iterations as it takes for each of two depths to have its turn."""
    losses = {}
    for iteration in range(iterations):
        with EventStorage(iteration):
            losses.update(model.train()(batch))
    sum(losses.values()).backward()
    return losses


def test_one_shallower_depth_learns_in_an_iteration(tiny_cfg, make_input):
    model = build_model(tiny_cfg)
    for iteration, depth in enumerate([1, 2, 1]):
        with EventStorage(iteration):
            losses = model.train()([make_input(5)])
        assert {n for n in losses if "mask" in n} == {"loss_mask", f"loss_mask_d{depth}"}


def test_each_depth_has_a_loss(tiny_cfg, make_input):
    losses = losses_of(build_model(tiny_cfg), [make_input(5), make_input(3)])
    assert {name for name in losses if "mask" in name} == MASK_LOSSES
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("counts", [(0, 0), (0, 4)])
def test_empty_and_half_empty_batches(tiny_cfg, make_input, counts):
    model = build_model(tiny_cfg)
    losses = losses_of(model, [make_input(count) for count in counts])
    assert MASK_LOSSES <= set(losses)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in model.roi_heads.mask_head.parameters())


def test_gradients_reach_every_parameter_of_the_model(tiny_cfg, make_input):
    model = build_model(tiny_cfg)
    losses_of(model, [make_input(5), make_input(3)])
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("mode", ["pruned", "ensemble"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_inference_in_every_mode_and_depth(tiny_cfg, make_input, mode, depth):
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.MODE = mode
    tiny_cfg.MODEL.NESTED_FPN.DEPTH = depth
    model = build_model(tiny_cfg).eval()
    with torch.no_grad():
        (output,) = model([make_input(1)])
    assert output["instances"].pred_masks.shape[1:] == (64, 64)


def test_the_ensemble_is_the_mean_of_the_depths():
    head = make_head().eval()
    x = {depth: torch.randn(3, 8, 14, 14) for depth in (None, 1, 2)}

    def masks(features):
        instances = Instances((64, 64))
        instances.pred_classes = torch.tensor([0, 1, 0])
        with torch.no_grad():
            return head(features, [instances])[0].pred_masks

    singles = [masks(features) for features in x.values()]
    assert torch.allclose(masks(x), sum(singles) / 3, atol=1e-6)
    assert torch.equal(masks({None: x[None]}), singles[0])


def test_with_cross_entropy_and_one_pyramid_it_is_the_stock_loss(make_input):
    head = make_head(loss="cross_entropy").train()
    x = torch.randn(7, 8, 14, 14)
    instances = proposals(make_input, 4, 0, 3)
    with EventStorage() as ours:
        loss = head(x, instances)["loss_mask"]
    with EventStorage() as theirs:
        expected = mask_rcnn_loss(head.layers(x), instances)
    assert torch.equal(loss, expected)
    for name, value in theirs.latest().items():
        assert ours.latest()[name][0] == pytest.approx(value[0], abs=1e-6), name


def test_weights_scale_the_shallow_losses(make_input):
    head = make_head(shallow_weights=[0.5, 2.0]).train()
    same = torch.randn(4, 8, 14, 14)
    with EventStorage():
        losses = head({None: same, 1: same, 2: same}, proposals(make_input, 4))
    full = losses["loss_mask"].item()
    assert losses["loss_mask_d1"].item() == pytest.approx(0.5 * full)
    assert losses["loss_mask_d2"].item() == pytest.approx(2.0 * full)


def test_a_depth_of_weight_zero_is_not_computed(tiny_cfg, make_input):
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.0, 1.0]
    losses = losses_of(build_model(tiny_cfg), [make_input(5)])
    assert {name for name in losses if "mask" in name} == {"loss_mask", "loss_mask_d2"}


def test_deep_supervision_on_a_stock_fpn(tiny_cfg, make_input):
    tiny_cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    for roi_heads in ("StandardROIHeads", "NestedROIHeads"):
        tiny_cfg.MODEL.ROI_HEADS.NAME = roi_heads
        losses = losses_of(build_model(tiny_cfg), [make_input(5)])
        assert {name for name in losses if "mask" in name} == {"loss_mask"}


def test_a_nested_pyramid_with_the_stock_mask_head(tiny_cfg, make_input):
    tiny_cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    tiny_cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    losses = losses_of(build_model(tiny_cfg), [make_input(5)])
    assert {name for name in losses if "mask" in name} == {"loss_mask"}


def test_boxes_only(tiny_cfg, make_input):
    tiny_cfg.MODEL.MASK_ON = False
    losses = losses_of(build_model(tiny_cfg), [make_input(5)])
    assert not any("mask" in name for name in losses)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LOSS", "focal"),
        ("MODE", "average"),
        ("WEIGHTS", [1.0, -1.0]),
        ("WEIGHTS", [float("nan"), 1.0]),
        ("WEIGHTS", ["one", 1.0]),
        ("ROI_FRACTION", 0.0),
    ],
)
def test_an_impossible_value_fails_by_the_name_of_its_key(tiny_cfg, key, value):
    key = f"MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.{key}"
    tiny_cfg.merge_from_list([key, value])
    with pytest.raises(ConfigError, match=key):
        build_model(tiny_cfg)


def test_a_mask_head_without_pooling_is_refused(tiny_cfg):
    tiny_cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = ""
    with pytest.raises(ConfigError, match="POOLER_TYPE"):
        build_model(tiny_cfg)


def test_features_of_other_backbones_are_not_taken_for_depths():
    assert shallower_depths(["p2", "p2_down", "p2_d1", "res_d2", "p6_d12"]) == [1, 12]


def test_masks_are_shown_when_asked_for(tiny_cfg, make_input):
    tiny_cfg.VIS_PERIOD = 1
    model = build_model(tiny_cfg)
    model.vis_period = 0  # the proposals', which need a whole image in the storage
    with EventStorage() as storage:
        model.train()([make_input(5)])
    assert len([name for name, *_ in storage._vis_data if "loss_mask" in name]) == 2


def test_no_detections_at_all(tiny_cfg, make_input):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 1.0
    for mode in ("pruned", "ensemble"):
        tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.MODE = mode
        with torch.no_grad():
            (output,) = build_model(tiny_cfg).eval()([make_input(1)])
        assert len(output["instances"]) == 0


def test_dice_against_its_definition():
    logits, targets = torch.randn(3, 5, 5), (torch.rand(3, 5, 5) > 0.5).float()
    p = logits.sigmoid()
    by_hand = [
        1 - (2 * (p[b] * targets[b]).sum() + 1) / ((p[b] ** 2).sum() + targets[b].sum() + 1)
        for b in range(3)
    ]
    assert soft_dice_loss(logits, targets) == pytest.approx(float(sum(by_hand) / 3), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_losses_of_a_perfect_mask_vanish(value):
    targets = torch.full((2, 4, 4), value)
    logits = (targets * 2 - 1) * 50
    assert cross_entropy_dice_loss(logits, targets) == pytest.approx(0, abs=1e-6)
    assert cross_entropy_loss(-logits, targets) > 10
    if value:
        assert soft_dice_loss(-logits, targets) > 0.9


def test_cross_entropy_is_torchs():
    logits, targets = torch.randn(3, 5, 5), torch.rand(3, 5, 5)
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    assert cross_entropy_loss(logits, targets) == expected


def test_masks_of_every_depth_learn_from_the_finest_row(tiny_cfg, make_input):
    tiny_cfg.MODEL.FPN.IN_FEATURES = ["conv1", "res2", "res3", "res4", "res5"]
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0] * 3
    model = build_model(tiny_cfg)
    assert model.roi_heads.box_in_features == ["p2", "p3", "p4", "p5"]
    losses = {}
    for iteration in range(3):
        with EventStorage(iteration):
            losses.update(model.train()([make_input(3)]))
    masks = {name: loss for name, loss in losses.items() if "mask" in name}
    assert set(masks) == {"loss_mask", "loss_mask_d1", "loss_mask_d2", "loss_mask_d3"}
    row = [model.backbone.grid.get_submodule(f"x_0_{column}")[0].weight for column in (1, 2, 3, 4)]

    def columns_that_learn():
        return [k for k, w in enumerate(row, 1) if w.grad is not None and w.grad.any()]

    for depth in (1, 2, 3):
        model.zero_grad()
        masks[f"loss_mask_d{depth}"].backward(retain_graph=True)
        assert columns_that_learn() == list(range(1, depth + 1))
    model.zero_grad()
    sum(loss for name, loss in losses.items() if name not in masks).backward()
    assert columns_that_learn() == []  # boxes do not read it


@pytest.mark.parametrize("mask_head", ["MaskRCNNConvUpsampleHead", "DeepSupervisionMaskHead"])
def test_the_finest_row_changes_masks_only(tiny_cfg, make_input, mask_head):
    tiny_cfg.MODEL.FPN.IN_FEATURES = ["conv1", "res2", "res3", "res4", "res5"]
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    tiny_cfg.MODEL.ROI_MASK_HEAD.NAME = mask_head
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.0] * 3
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model = build_model(tiny_cfg).eval()
    with torch.no_grad():
        before = model.inference([make_input(3)], do_postprocess=False)[0]
        model.roi_heads.mask_fine.weight.zero_()
        after = model.inference([make_input(3)], do_postprocess=False)[0]
    assert len(before) > 0
    assert torch.equal(before.pred_boxes.tensor, after.pred_boxes.tensor)
    assert not torch.equal(before.pred_masks, after.pred_masks)


@pytest.mark.parametrize("readers", [["masks"], ["boxes"], ["masks", "boxes"]])
def test_what_reads_the_finest_row(tiny_cfg, make_input, readers):
    tiny_cfg.MODEL.FPN.IN_FEATURES = ["conv1", "res2", "res3", "res4", "res5"]
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    tiny_cfg.MODEL.NESTED_FPN.FINE_LEVEL_READERS = readers
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.0, 0.0, 0.0]
    model = build_model(tiny_cfg)
    heads = model.roi_heads

    def learns(loss):
        model.zero_grad()
        with EventStorage():
            model.train()([make_input(3), make_input(2)])[loss].backward()
        return model.backbone.grid.x_0_4[0].weight.grad is not None

    assert learns("loss_mask") == ("masks" in readers)
    assert learns("loss_box_reg") == ("boxes" in readers)
    assert (heads.mask_fine is not None) == ("masks" in readers)
    with torch.no_grad():
        model.eval()([make_input(3)])


def test_the_canonical_box_size_chooses_the_level(tiny_cfg, make_input):
    levels = []
    for size in (224, 16):
        tiny_cfg.MODEL.ROI_HEADS.NAME = "NestedROIHeads"
        tiny_cfg.MODEL.ROI_HEADS.CANONICAL_BOX_SIZE = size
        heads = build_model(tiny_cfg).roi_heads
        for pooler in (heads.box_pooler, heads.mask_pooler):
            seen = []
            for level, of_level in enumerate(pooler.level_poolers, 2):
                of_level.register_forward_hook(
                    lambda _, inputs, __, level=level, seen=seen: seen.extend(
                        [level] * len(inputs[1])
                    )
                )
            maps = [torch.zeros(1, 32, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
            pooler(maps, [Boxes(torch.tensor([[0.0, 0.0, 16.0, 16.0]]))])
            levels.append(seen)
    assert levels == [[2], [2], [4], [4]]


def blobs(count):
    """Ellipses in boxes that reach beyond the image: boxes (count, 4), masks (count, 1, 28, 28)."""
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=generator) * 70 - 5
    sides = 10 + torch.rand(count, 2, generator=generator) * 30
    cells = (torch.arange(28) + 0.5) / 28 - 0.5
    axes = 0.2 + 0.2 * torch.rand(count, 2, 1, 1, generator=generator)
    away = (cells[None] / axes[:, 0]) ** 2 + (cells[:, None] / axes[:, 1]) ** 2
    return torch.cat([corners, corners + sides], dim=1), torch.sigmoid(6 - 6 * away)[:, None]


def pasted(boxes, masks):
    return paste_masks_in_image(masks[:, 0], boxes, (80, 90), 0.5)


def test_a_mask_has_the_same_pixels_in_its_own_box():
    wider, masks = blobs(40)
    boxes = boxes_of_masks(wider, wider, masks)
    before, after = pasted(wider, masks), pasted(boxes, masks_in_boxes(masks, wider, boxes))
    assert ((before & after).sum() / (before | after).sum()) > 0.97
    limits = torch.tensor([90, 80, 90, 80])
    for mask, box in zip(before, boxes.clamp(min=0).minimum(limits)):
        if mask.any():
            ys, xs = torch.nonzero(mask, as_tuple=True)
            tight = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            assert (tight - box).abs().max() < 0.6  # a pixel belongs to it from its middle on
    there_and_back = masks_in_boxes(masks_in_boxes(masks, wider, boxes), boxes, wider)
    again = pasted(wider, there_and_back)
    assert ((before & again).sum() / (before | again).sum()) > 0.94


def test_a_mask_without_pixels_keeps_the_box():
    wider, masks = blobs(3)
    boxes = torch.tensor([[10.0, 10.0, 30.0, 20.0]] * 3)
    masks[1] *= 0.4
    found = boxes_of_masks(boxes, wider, masks)
    assert found[1].tolist() == [10, 10, 30, 20] != found[0].tolist()
    assert boxes_of_masks(boxes[:0], wider[:0], masks[:0]).shape == (0, 4)
    assert masks_in_boxes(masks[:0], wider[:0], boxes[:0]).shape == (0, 1, 28, 28)


@pytest.mark.parametrize("depth", [2, 1])
def test_masks_are_looked_for_in_wider_boxes(tiny_cfg, make_input, depth):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    tiny_cfg.MODEL.NESTED_FPN.DEPTH = depth
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0, 1.0][: depth - 1]
    model = build_model(tiny_cfg)
    heads = model.roi_heads
    stock = losses_of(model, [make_input(5)])
    heads.mask_margin = 0.25
    assert losses_of(model, [make_input(5)])["loss_mask"] != stock["loss_mask"]
    seen = []
    pool = heads._pool_masks
    heads._pool_masks = lambda features, boxes, depth: (
        seen.append(boxes[0].tensor) or pool(features, boxes, depth)
    )
    model.eval()
    with torch.no_grad():
        (found,) = model.inference([make_input(5)], do_postprocess=False)
        heads.mask_on = False
        (plain,) = model.inference([make_input(5)], do_postprocess=False)
        heads.mask_on = True
        boxes = plain.pred_boxes.tensor.clone()
        features = model.backbone(model.preprocess_image([make_input(5)]).tensor)
        (given,) = heads.forward_with_given_boxes(features, [plain])
    torch.testing.assert_close(seen[0], widened(boxes, 0.25))
    assert not torch.allclose(found.pred_boxes.tensor, boxes)
    assert given.pred_masks.shape == found.pred_masks.shape
    torch.testing.assert_close(given.pred_boxes.tensor, boxes)


def test_a_score_is_multiplied_by_the_mean_probability_of_the_masks_pixels():
    # the second has no pixels: its highest probability
    masks = torch.tensor([[0.9, 0.7, 0.4, 0.0], [0.4, 0.4, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    scores = mask_scores(torch.tensor([0.5, 0.5, 0.25]), masks.view(3, 1, 2, 2))
    torch.testing.assert_close(scores, torch.tensor([0.4, 0.2, 0.25]))
    assert mask_scores(torch.zeros(0), torch.zeros(0, 1, 28, 28)).shape == (0,)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_predictions_have_scores_of_masks_if_asked(tiny_cfg, make_input, margin):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    tiny_cfg.MODEL.ROI_MASK_HEAD.BOX_MARGIN = margin
    model = build_model(tiny_cfg).eval()
    heads = model.roi_heads
    with torch.no_grad():
        heads.mask_head.predictor.weight.mul_(1000)  # as after a training: masks differ
        (plain,) = model.inference([make_input(5)], do_postprocess=False)
        heads.score_masks = True
        (found,) = model.inference([make_input(5)], do_postprocess=False)
    expected = mask_scores(plain.scores, plain.pred_masks)
    order = expected.argsort(descending=True, stable=True)
    assert not torch.equal(order, torch.arange(len(order)))
    torch.testing.assert_close(found.scores, expected[order])
    torch.testing.assert_close(found.box_scores, plain.scores[order])
    torch.testing.assert_close(found.pred_boxes.tensor, plain.pred_boxes.tensor[order])
    torch.testing.assert_close(found.pred_masks, plain.pred_masks[order])
    with torch.no_grad():
        features = model.backbone(model.preprocess_image([make_input(5)]).tensor)
        before = plain.scores.clone(), plain.pred_boxes.tensor.clone()
        (given,) = heads.forward_with_given_boxes(features, [plain])
    torch.testing.assert_close((given.scores, given.pred_boxes.tensor), before)
