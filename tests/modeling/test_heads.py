"""Heads of Detectron2, of its projects and of others on the nested pyramid."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads import CascadeROIHeads
from detectron2.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    BaseMaskRCNNHead,
)
from detectron2.projects.point_rend import add_pointrend_config
from detectron2.structures import Instances, Keypoints
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import update_bn_stats
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import split_depths
from maskrcnnpp.modeling.mask_head import NestedCascadeROIHeads, NestedROIHeads
from maskrcnnpp.modeling.pruning import pruned_config, pruned_weights


@ROI_MASK_HEAD_REGISTRY.register()
class ForeignMaskHead(BaseMaskRCNNHead):
    """A head of somebody who has never heard of depths."""

    def __init__(self, cfg, input_shape):
        super().__init__()
        self.predictor = nn.Conv2d(input_shape.channels, cfg.MODEL.ROI_HEADS.NUM_CLASSES, 1)

    def layers(self, x):
        return self.predictor(x)


def fine_row(cfg):
    cfg.MODEL.FPN.IN_FEATURES = ["conv1", "res2", "res3", "res4", "res5"]
    cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [1.0] * 3


def stock_masks(cfg):
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"


def cascade(cfg):
    cfg.MODEL.ROI_HEADS.NAME = "NestedCascadeROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True


def keypoints(cfg):
    cfg.MODEL.KEYPOINT_ON = True
    cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = [16]
    cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = 3
    cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 0


def foreign_masks(cfg):
    cfg.MODEL.ROI_MASK_HEAD.NAME = "ForeignMaskHead"


def point_rend(cfg):
    add_pointrend_config(cfg)
    cfg.MODEL.ROI_MASK_HEAD.NAME = "PointRendMaskHead"
    cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = ""
    cfg.MODEL.ROI_MASK_HEAD.FC_DIM = cfg.MODEL.POINT_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_MASK_HEAD.POINT_HEAD_ON = True
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = 1


def panoptic(cfg):
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32


def semantic(cfg):
    panoptic(cfg)
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"


def fine_semantics(cfg):
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p1", "p2", "p3", "p4", "p5"]
    cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 2


def proposals_only(cfg):
    cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"


def retinanet(cfg):
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_nested_fpn_backbone"
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32, 32, 32]
    cfg.MODEL.RETINANET.NUM_CLASSES = 1
    cfg.MODEL.RETINANET.NUM_CONVS = 1


def embedded(cfg):
    cfg.MODEL.META_ARCHITECTURE = "EmbeddedRCNN"


def with_decoders_of_their_own(cfg):
    cfg.MODEL.NESTED_FPN.CONNECTIONS = "ensemble"


def given_proposals(cfg):
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    cfg.MODEL.RPN.IN_FEATURES = ["res4"]  # Detectron2's default, which nothing reads


def configured(cfg, *changes):
    for change in changes:
        change(cfg)
    return cfg


def batch(make_input, *counts):
    """Images with boxes, masks, keypoints and labels of pixels."""
    inputs = [make_input(count) for count in counts]
    for x in inputs:
        truth = x["instances"]
        centers = truth.gt_boxes.get_centers()[:, None].repeat(1, 3, 1)
        visible = torch.full_like(centers[..., :1], 2)
        truth.gt_keypoints = Keypoints(torch.cat([centers, visible], dim=-1))
        x["proposals"] = Instances(truth.image_size)
        x["proposals"].proposal_boxes = truth.gt_boxes.clone()
        x["proposals"].objectness_logits = torch.ones(len(truth))
        x["sem_seg"] = truth.gt_masks.tensor.any(dim=0).long()
    return inputs


def train(model, inputs, iterations=3):
    """Names of the losses, and of the parameters that never had a gradient."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    names, waiting = set(), {name for name, p in model.named_parameters() if p.requires_grad}
    for iteration in range(iterations):
        optimizer.zero_grad()
        with EventStorage(iteration):
            losses = model.train()(inputs)
        assert all(torch.isfinite(x) for x in losses.values()), losses
        sum(losses.values()).backward()
        optimizer.step()
        names |= set(losses)
        waiting -= {name for name, p in model.named_parameters() if p.grad is not None}
    return names, waiting


MASKS_OF_DEPTHS = {"loss_mask", "loss_mask_d1", "loss_mask_d2"}
STAGES = {f"loss_{part}_stage{k}" for part in ("cls", "box_reg") for k in range(3)}


@pytest.mark.parametrize(
    ("changes", "some_losses"),
    [
        ([], MASKS_OF_DEPTHS),
        ([fine_row], MASKS_OF_DEPTHS | {"loss_mask_d3"}),
        ([stock_masks], {"loss_mask"}),
        ([cascade], MASKS_OF_DEPTHS | STAGES),
        ([cascade, fine_row], MASKS_OF_DEPTHS | STAGES),
        ([cascade, with_decoders_of_their_own], MASKS_OF_DEPTHS | STAGES),
        ([cascade, embedded], {"loss_mask_d1", "loss_cls_stage2_d2", "loss_rpn_loc_d1"}),
        ([keypoints], MASKS_OF_DEPTHS | {"loss_keypoint"}),
        ([cascade, keypoints], MASKS_OF_DEPTHS | STAGES | {"loss_keypoint"}),
        ([keypoints, embedded], {"loss_keypoint", "loss_keypoint_d1", "loss_keypoint_d2"}),
        ([foreign_masks], {"loss_mask"}),
        ([foreign_masks, embedded], MASKS_OF_DEPTHS),
        ([foreign_masks, cascade], STAGES | {"loss_mask"}),
        ([point_rend], {"loss_mask", "loss_mask_point"}),
        ([stock_masks, point_rend], {"loss_mask", "loss_mask_point"}),
        ([point_rend, embedded], MASKS_OF_DEPTHS | {"loss_mask_point_d1"}),
        ([panoptic], MASKS_OF_DEPTHS | {"loss_sem_seg"}),
        ([panoptic, fine_row], MASKS_OF_DEPTHS | {"loss_sem_seg"}),
        ([panoptic, fine_row, fine_semantics], MASKS_OF_DEPTHS | {"loss_sem_seg"}),
        ([semantic, fine_row, fine_semantics], {"loss_sem_seg"}),
        ([retinanet], {"loss_cls", "loss_box_reg"}),
        ([retinanet, with_decoders_of_their_own], {"loss_cls", "loss_box_reg"}),
        ([given_proposals], MASKS_OF_DEPTHS),
        ([proposals_only], {"loss_rpn_cls", "loss_rpn_loc"}),
        ([proposals_only, with_decoders_of_their_own], {"loss_rpn_cls", "loss_rpn_loc"}),
    ],
    ids=lambda x: "-".join(f.__name__ for f in x) or "default" if isinstance(x, list) else "",
)
def test_every_parameter_learns(tiny_cfg, make_input, changes, some_losses):
    model = build_model(configured(tiny_cfg, *changes))
    names, without_gradient = train(model, batch(make_input, 5, 2))
    assert some_losses <= names
    assert without_gradient == set()
    with torch.no_grad():
        assert len(model.eval()(batch(make_input, 1))) == 1


def fpn_norm(norm):
    return lambda cfg: cfg.MODEL.FPN.merge_from_list(["NORM", norm])


def setting(key, value):
    return lambda cfg: cfg.merge_from_list([key, value])


DEEP = "MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([retinanet, fine_row], "nothing reads p1.*leave the row out.*RetinaNet has no mask head"),
        ([proposals_only, fine_row], "nothing reads p1.*ProposalNetwork has no mask head"),
        ([semantic, fine_row], "nothing reads p1.*SemanticSegmentor has no mask head"),
        ([point_rend, fine_row], "nothing reads p1.*MODEL.ROI_MASK_HEAD.POOLER_TYPE"),
        ([cascade, fine_row, setting("MODEL.MASK_ON", False)], "nothing reads p1.*MODEL.MASK_ON"),
        (
            [retinanet, setting("MODEL.BACKBONE.NAME", "build_nested_fpn_backbone")],
            "MODEL.RETINANET.IN_FEATURES names .'p7'.*build_retinanet_nested_fpn_backbone",
        ),
        (
            [
                retinanet,
                setting("MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]),
                setting("MODEL.NESTED_FPN.ROW_CHANNELS", [32] * 4),
            ],
            "nothing reads p2.*leave the row out.*name the level in MODEL.RETINANET.IN_FEATURES",
        ),
        (
            [retinanet, setting("MODEL.RETINANET.IN_FEATURES", ["p3", "p4", "p5", "p6"])],
            "nothing reads its level p7",
        ),
        (
            [panoptic, fine_row, fine_semantics, setting("MODEL.SEM_SEG_HEAD.COMMON_STRIDE", 4)],
            "COMMON_STRIDE is 4: set that to 2",
        ),
        (
            [foreign_masks, setting(f"{DEEP}.WEIGHTS", [0.5, 0.5])],
            "ForeignMaskHead learns.*WEIGHTS to",
        ),
        ([point_rend, setting(f"{DEEP}.MODE", "ensemble")], "MODE is ensemble.*PointRendMaskHead"),
        (
            [setting("MODEL.ROI_HEADS.NAME", "CascadeROIHeads")],
            "MODEL.ROI_HEADS.NAME is CascadeROIHeads.*NestedCascadeROIHeads",
        ),
        (
            [cascade, setting("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", False)],
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG is False",
        ),
        (
            [
                setting("MODEL.BACKBONE.NAME", "build_nested_fpn_backbone"),
                setting("MODEL.NESTED_FPN.ENCODER", "build_nested_fpn_backbone"),
            ],
            "MODEL.NESTED_FPN.ENCODER is build_nested_fpn_backbone.* pyramid itself",
        ),
        ([fpn_norm("BN")], "MODEL.FPN.NORM normalizes by batches .BatchNorm2d.*GN.*WEIGHTS"),
        ([fpn_norm("SyncBN")], "MODEL.FPN.NORM normalizes by batches .SyncBatchNorm"),
        ([fpn_norm("naiveSyncBN_N")], "MODEL.FPN.NORM normalizes by batches .NaiveSyncBatchNorm"),
        (
            [embedded, setting("MODEL.ROI_BOX_HEAD.NUM_CONV", 1)]
            + [setting("MODEL.ROI_BOX_HEAD.NORM", "BN")],
            "NORM of MODEL.ROI_BOX_HEAD.*BatchNorm2d",
        ),
        ([embedded, setting("MODEL.ROI_MASK_HEAD.NORM", "BN")], "MODEL.ROI_MASK_HEAD.*BatchNorm2d"),
    ],
)
def test_what_would_learn_nothing_or_something_wrong_is_refused(tiny_cfg, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(configured(tiny_cfg, *changes))


def one_depth(cfg):
    cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.0, 0.0]


def test_batch_norm_of_one_depth_is_counted_once(tiny_cfg, make_input):
    model = build_model(configured(tiny_cfg, one_depth, fpn_norm("BN"), stock_encoder_norm))
    inputs = batch(make_input, 5, 2)
    with EventStorage():
        update_bn_stats(model.train(), [inputs] * 2, num_iters=2)  # what TEST.PRECISE_BN does
    norms = [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    seen = {}
    for norm in norms:
        norm.register_forward_hook(lambda m, x, _: seen.setdefault(m, []).append(x[0]))
    with EventStorage(), torch.no_grad():
        model(inputs)
    assert len(norms) == 4 + 6 + 4  # of laterals, nodes and outputs
    for norm in norms:
        (x,) = seen[norm]
        assert torch.allclose(norm.running_mean, x.mean(dim=(0, 2, 3)), atol=1e-4)


def stock_encoder_norm(cfg):
    cfg.MODEL.RESNETS.NORM = "FrozenBN"


def test_frozen_batch_norm_is_the_same_for_all_depths(tiny_cfg, make_input):
    changes = [fpn_norm("FrozenBN"), setting("MODEL.NESTED_FPN.CHECKPOINTING", True)]
    model = build_model(configured(tiny_cfg, *changes))
    before = {name: x.clone() for name, x in model.named_buffers()}
    names, without_gradient = train(model, batch(make_input, 5))
    assert MASKS_OF_DEPTHS <= names and not without_gradient
    assert all(torch.equal(x, before[name]) for name, x in model.named_buffers())


def raw_outputs(model, inputs, depth=None):
    """What the heads of RetinaNet give on the pyramid of a depth."""
    if depth is not None:
        model.backbone.extra_depths_at_inference = (depth,)
    features = model.backbone(model.preprocess_image(inputs).tensor)
    features = split_depths(features)[depth]
    return [y for x in model.head([features[f] for f in model.head_in_features]) for y in x]


@pytest.mark.parametrize("depth", [1, 2])
def test_retinanet_has_all_its_levels_at_every_depth(tiny_cfg, make_input, depth):
    cfg = configured(tiny_cfg, retinanet)
    full = build_model(cfg).eval()
    cut = build_model(pruned_config(cfg, depth)).eval()
    cut.load_state_dict(pruned_weights(cfg, full.state_dict(), depth))
    inputs = batch(make_input, 3)
    with torch.no_grad():
        ours = raw_outputs(cut, inputs)
        theirs = raw_outputs(full, inputs, depth if depth < 2 else None)
    assert [x.shape[-1] for x in ours[:5]] == [8, 4, 2, 1, 1]
    assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))
    assert cut.backbone.size_divisibility == 32
    stages = [name for name, _ in cut.backbone.bottom_up.named_children()]
    assert stages[-1] == f"res{depth + 3}"


def test_a_cut_cascade_predicts_what_the_full_one_does_at_that_depth(tiny_cfg, make_input):
    cfg = configured(tiny_cfg, cascade, embedded)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    full = build_model(cfg).eval()
    cut = build_model(pruned_config(cfg, 1)).eval()
    cut.load_state_dict(pruned_weights(cfg, full.state_dict(), 1))
    full.backbone.extra_depths_at_inference = (1,)
    images = full.preprocess_image(batch(make_input, 3))
    with torch.no_grad():
        features = split_depths(full.backbone(images.tensor))[1]
        proposals, _ = full.proposal_generator(images, features, None)
        (theirs,), _ = full.roi_heads(images, features, proposals, None)
        (ours,) = cut.inference(batch(make_input, 3), do_postprocess=False)
    assert len(ours) > 0
    assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
    assert torch.equal(ours.pred_masks, theirs.pred_masks)


def test_the_boxes_of_the_nested_cascade_are_the_stock_ones(tiny_cfg, make_input):
    cfg = configured(tiny_cfg, cascade, one_depth)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    ours = build_model(cfg).eval()
    cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    stock = build_model(cfg).eval()
    stock.load_state_dict(ours.state_dict())
    with torch.no_grad():
        (a,) = ours.inference(batch(make_input, 3), do_postprocess=False)
        (b,) = stock.inference(batch(make_input, 3), do_postprocess=False)
    assert torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
    assert torch.equal(a.pred_masks, b.pred_masks)
    assert issubclass(NestedCascadeROIHeads, (NestedROIHeads, CascadeROIHeads))


def test_stock_roi_heads_on_a_pyramid_of_several_depths(tiny_cfg, make_input):
    model = build_model(configured(tiny_cfg, stock_masks))
    model.backbone.extra_depths_in_training = (1, 2)  # as by LazyConfig
    with pytest.raises(ConfigError, match="extra_depths_in_training.* has .1.*no head learned"):
        train(model, batch(make_input, 3), iterations=2)
