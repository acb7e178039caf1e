"""Exported models beside the PyTorch ones that they were made from."""

import json
import sys

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from semantic_config import MODE, WEIGHTS, grid, head, unet_cfg

from maskrcnnpp.errors import ConfigError, OutputError
from maskrcnnpp.exporting import FORMATS, Session, export_model
from maskrcnnpp.modeling.pruning import pruned_config, pruned_weights
from maskrcnnpp.version import __version__

ROWS = ["conv1", "res2", "res3", "res4", "res5"]
STOCK = (
    *("MODEL.ROI_HEADS.NAME", "StandardROIHeads"),
    *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"),
    *("MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS", [0.0, 0.0, 0.0]),
)
LITE0 = ("MODEL.TIMM.NAME", "tf_efficientnet_lite0")
MODELS = {
    "nested": (),
    "ensemble, p1 for boxes": (
        *("MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.MODE", "ensemble"),
        *("MODEL.NESTED_FPN.FINE_LEVEL_READERS", ["masks", "boxes"]),
        *("MODEL.ROI_MASK_HEAD.BOX_MARGIN", 0.1, "MODEL.ROI_MASK_HEAD.SCORE_MASKS", True),
        *("MODEL.NESTED_FPN.FINE_ROW", "last", "MODEL.NESTED_FPN.UPSAMPLE", "bilinear"),
    ),
    "cascade of 3 classes": (
        *("MODEL.ROI_HEADS.NAME", "NestedCascadeROIHeads", "MODEL.ROI_HEADS.NUM_CLASSES", 3),
        *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True),
        *("MODEL.ROI_MASK_HEAD.SCORE_MASKS", True),
        *("MODEL.NESTED_FPN.UPSAMPLE", "transposed", "DATASETS.TRAIN", ()),
    ),
    "timm": (
        *("MODEL.NESTED_FPN.ENCODER", "build_timm_backbone", *LITE0),
        *("MODEL.NESTED_FPN.NODE", "separable"),
    ),
    "stock of 3 classes": (
        *(*STOCK, "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
        *("MODEL.FPN.IN_FEATURES", ROWS[1:], "MODEL.ROI_HEADS.NUM_CLASSES", 3),
        *("DATASETS.TRAIN", ()),
    ),
    "stock, timm": (
        *(*STOCK, *LITE0, "MODEL.BACKBONE.NAME", "build_timm_fpn_backbone"),
        *("MODEL.FPN.IN_FEATURES", ROWS[1:]),
    ),
}


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.MODEL.BACKBONE.NAME = "build_nested_fpn_backbone"
    tiny_cfg.MODEL.FPN.IN_FEATURES = ROWS
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS = [0.0, 1.0, 0.0]
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    tiny_cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 40
    tiny_cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    return tiny_cfg


@pytest.fixture
def checkpoint(tmp_path):
    """``checkpoint(cfg)``: a model of random weights, and the file that holds them."""

    def save(cfg):
        model = build_model(cfg).eval()
        file = tmp_path / "model.pth"
        torch.save({"model": model.state_dict()}, file)
        return model, file

    return save


def predicted(model, images, threshold=0.0):
    """By Detectron2's inference, in the form of a session's outputs."""
    with torch.no_grad():
        found = model.inference([{"image": x} for x in images], do_postprocess=False)
    has_both = all(x.has("box_scores") for x in found)
    found = [x[(x.box_scores if has_both else x.scores) >= threshold] for x in found]
    more = {"box_scores": torch.cat([x.box_scores for x in found]).numpy()} if has_both else {}
    return {
        **more,
        "boxes": torch.cat([x.pred_boxes.tensor for x in found]).numpy(),
        "scores": torch.cat([x.scores for x in found]).numpy(),
        "classes": torch.cat([x.pred_classes for x in found]).numpy(),
        "masks": torch.cat([x.pred_masks for x in found])[:, 0].numpy(),
        "image_indices": np.repeat(np.arange(len(found)), [len(x) for x in found]),
    }


def assert_same(found, expected):
    """The same objects; where scores are equal but for rounding in any order."""
    assert {k: (x.shape, x.dtype) for k, x in found.items()} == {
        k: (x.shape, x.dtype) for k, x in expected.items()
    }
    assert (np.diff(found["image_indices"]) >= 0).all()
    is_same = (found["image_indices"][:, None] == expected["image_indices"]) & (
        found["classes"][:, None] == expected["classes"]
    )
    distance = np.abs(found["boxes"][:, None] - expected["boxes"]).max(axis=2, initial=0)
    distance = np.where(is_same, distance, np.inf)
    partner = distance.argmin(axis=1) if len(distance) else np.zeros(0, int)
    assert sorted(partner) == list(range(len(partner)))
    assert (distance[np.arange(len(partner)), partner] < 0.01).all()
    for name in {"scores", "box_scores"} & set(found):
        assert np.abs(found[name] - expected[name][partner]).max(initial=0) < 1e-4
    assert np.abs(found["masks"] - expected["masks"][partner]).max(initial=0) < 1e-3


def threshold_near(wanted, scores):
    """One that no score is near to, so that rounding does not decide what is above it."""
    edges = np.sort(np.append(scores, scores.max() + 0.01))
    gaps = np.flatnonzero(np.diff(edges) > 2e-5)
    middles = (edges[gaps] + edges[gaps + 1]) / 2
    return float(middles[np.abs(middles - wanted).argmin()])


def check(session, model):
    """Batches, sizes and numbers of objects other than those that it was exported with."""
    counts, is_half_empty = set(), False
    for batch, height, width in ((1, 64, 64), (3, 64, 64), (2, 90, 70)):
        images = torch.rand(batch, 3, height, width) * 255
        everything = predicted(model, images)
        scores, places = (
            everything.get("box_scores", everything["scores"]),
            everything["image_indices"],
        )
        best = [scores[places == index].max() for index in range(batch)]
        # all; about half; some in one image and none in another; none at all
        for wanted in (0.0, np.median(scores), np.mean(best), 1.0):
            threshold = threshold_near(wanted, scores) if wanted else wanted
            expected = predicted(model, images, threshold)
            assert_same(session(images.numpy(), threshold), expected)
            counts.add(len(expected["scores"]))
            is_half_empty |= 0 < len(set(expected["image_indices"])) < batch
    assert 0 in counts and len(counts) > 3 and is_half_empty


@pytest.mark.parametrize("name", MODELS)
def test_onnx_finds_what_pytorch_does(cfg, checkpoint, tmp_path, name):
    cfg.merge_from_list(list(MODELS[name]))
    model, weights = checkpoint(cfg)
    check(Session(export_model(cfg, weights, tmp_path, "onnx"), threads=1), model)


def test_weights_of_half_precision_are_stored_as_such(cfg, checkpoint, tmp_path):
    cfg.merge_from_list(list(MODELS["timm"]))
    model, weights = checkpoint(cfg)
    whole = export_model(cfg, weights, tmp_path, "onnx").stat().st_size
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data = weight.data.half().float()
    torch.save({"model": model.state_dict()}, weights)
    file = export_model(cfg, weights, tmp_path, "onnx")
    check(Session(file, threads=1), model)
    assert file.stat().st_size < 0.6 * whole


def test_padding_is_a_part_of_the_convolutions(cfg, checkpoint, tmp_path):
    """For a step of its own onnxruntime leaves its layout, at each stride."""
    cfg.merge_from_list(list(MODELS["timm"]))
    onnx = pytest.importorskip("onnx")
    _, weights = checkpoint(cfg)
    nodes = onnx.load(export_model(cfg, weights, tmp_path)).graph.node
    assert [node.name for node in nodes if node.op_type == "Pad"] == ["/Pad"]  # of the image
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    pads = [a.ints for node in convolutions for a in node.attribute if a.name == "pads"]
    assert [0, 0, 1, 1] in pads and [1, 1, 2, 2] in pads


@pytest.mark.parametrize("kind", ["torchscript", "openvino"])
def test_other_formats_do_too(cfg, checkpoint, tmp_path, kind):
    pytest.importorskip(FORMATS[kind].runtime)
    cfg.merge_from_list(list(MODELS["cascade of 3 classes"]))
    model, weights = checkpoint(cfg)
    check(Session(export_model(cfg, weights, tmp_path, kind), threads=1), model)


def test_a_smaller_depth(cfg, checkpoint, tmp_path):
    depth = 2
    cfg.MODEL.META_ARCHITECTURE = "EmbeddedRCNN"
    full, weights = checkpoint(cfg)
    session = Session(export_model(cfg, weights, tmp_path, "torchscript", depth=depth))
    assert session.about["depth"] == depth
    cut = build_model(pruned_config(cfg, depth)).eval()
    cut.load_state_dict(pruned_weights(cfg, full.state_dict(), depth))
    check(session, cut)


def test_the_thresholds_of_the_config(cfg, checkpoint, tmp_path):
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.5
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.3
    cfg.TEST.DETECTIONS_PER_IMAGE = 4
    model, weights = checkpoint(cfg)
    session = Session(export_model(cfg, weights, tmp_path))
    images = torch.rand(2, 3, 64, 96) * 255
    assert_same(session(images.numpy()), predicted(model, images))
    keys = ("score_threshold", "nms_threshold", "detections_per_image")
    assert [session.about[key] for key in keys] == [0.5, 0.3, 4]


SEMANTIC = {
    "UNet++": (),
    "U-Net": (grid("CONNECTIONS"), "plain"),
    "ensemble": (WEIGHTS, [1.0, 1.0, 1.0], MODE, "ensemble"),
    "softmax, timm": (
        *(head("ACTIVATION"), "softmax", head("NUM_CLASSES"), 3, grid("NORM"), "GN"),
        *(grid("UPSAMPLE"), "nearest", grid("ENCODER"), "timm/tf_efficientnet_lite0"),
        *("DATASETS.TRAIN", ()),
    ),
}


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "onnx") for name in SEMANTIC), ("UNet++", "torchscript")]
)
def test_semantic_models(checkpoint, tmp_path, name, kind):
    cfg = unet_cfg(*SEMANTIC[name])
    model, weights = checkpoint(cfg)
    session = Session(export_model(cfg, weights, tmp_path, kind), threads=1)
    for batch, height, width in ((1, 64, 64), (3, 50, 71)):
        images = torch.rand(batch, 1, height, width) * 255
        with torch.no_grad():
            expected = [x["sem_seg"] for x in model([{"image": x} for x in images])]
        found = session(images.numpy())["probabilities"]
        assert np.abs(found - torch.stack(expected).numpy()).max() < 1e-4
    assert session.about["task"] == "semantic"
    assert session.about["objects"]["first_class"] == (name == "softmax, timm")


def test_a_depth_of_a_semantic_model(checkpoint, tmp_path):
    cfg = unet_cfg(WEIGHTS, [1.0, 1.0, 1.0])
    _, weights = checkpoint(cfg)
    session = Session(export_model(cfg, weights, tmp_path, "torchscript", depth=2))
    assert session.about["depth"] == 2
    assert session(np.zeros((1, 1, 40, 40)))["probabilities"].shape == (1, 1, 40, 40)
    cfg = unet_cfg()
    _, weights = checkpoint(cfg)
    with pytest.raises(ConfigError, match="predictor_2.*would be random"):
        export_model(cfg, weights, tmp_path, depth=2)


def test_what_a_file_says_of_itself(cfg, checkpoint, tmp_path):
    cfg.DATASETS.TRAIN = ()
    _, weights = checkpoint(cfg)
    abouts = [
        Session(export_model(cfg, weights, tmp_path, kind)).about
        for kind in ("onnx", "torchscript")
    ]
    assert abouts[0] == abouts[1]
    about = abouts[0]
    assert about["maskrcnnpp"] == __version__ and about["class_names"] == ["class 1"]
    assert about["channel_order"] == "RGB" and about["size_divisibility"] == 32
    assert about["norms_of_image"] == ["GroupNorm"] and about["depth"] == 4
    assert len(about["weights_sha256"]) == 64 and json.dumps(about)
    assert str(tmp_path) not in json.dumps(about)
    assert {file.name for file in tmp_path.iterdir()} == {"model.pth", "model.onnx", "model.ts"}


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("MODEL.MASK_ON", False), "without masks cannot be exported: set MODEL.MASK_ON"),
        (("MODEL.KEYPOINT_ON", True), "keypoint head cannot be exported: set MODEL.KEYPOINT_ON"),
        (("INPUT.MIN_SIZE_TEST", 800), "INPUT.MIN_SIZE_TEST is 800"),
        (
            ("MODEL.META_ARCHITECTURE", "PanopticFPN"),
            "MODEL.META_ARCHITECTURE PanopticFPN cannot be exported.* set .* GeneralizedRCNN",
        ),
        (
            (*STOCK[-2:], "MODEL.ROI_MASK_HEAD.NAME", "MaskHeadOfATest"),
            "MODEL.ROI_MASK_HEAD.NAME MaskHeadOfATest cannot be exported",
        ),
        (
            ("MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIPool"),
            "MODEL.ROI_MASK_HEAD.POOLER_TYPE 'ROIPool' cannot be exported: .* ROIAlignV2",
        ),
    ],
)
def test_a_model_that_cannot_be_exported(cfg, checkpoint, tmp_path, opts, message):
    _, weights = checkpoint(cfg)
    cfg.merge_from_list(list(opts))
    with pytest.raises(ConfigError, match=message):
        export_model(cfg, weights, tmp_path / "out", "torchscript")
    assert not list(tmp_path.glob("out/*"))


def test_an_encoder_that_is_bound_to_a_size(cfg, checkpoint, tmp_path):
    cfg.MODEL.NESTED_FPN.ENCODER = "encoder_of_one_size"
    cfg.MODEL.FPN.IN_FEATURES = ROWS[1:]
    cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [32, 32, 32, 32]
    _, weights = checkpoint(cfg)
    with pytest.raises(ConfigError, match="ENCODER encoder_of_one_size cannot be exported, on an"):
        export_model(cfg, weights, tmp_path / "out", "torchscript")
    assert not list(tmp_path.glob("out/*"))


def test_bad_arguments(cfg, checkpoint, tmp_path, monkeypatch):
    _, weights = checkpoint(cfg)
    with pytest.raises(ConfigError, match="the format is 'tflite'; it can be one of .*onnx"):
        export_model(cfg, weights, tmp_path, "tflite")
    with pytest.raises(ConfigError, match=r"model.onnx .* torchscript, whose files end in .ts"):
        export_model(cfg, weights, tmp_path / "model.onnx", "torchscript")
    with pytest.raises(ConfigError, match=r"cannot be pruned to depth 7: choose 1..4"):
        export_model(cfg, weights, tmp_path, depth=7)
    with pytest.raises(ConfigError, match="there is no such file"):
        export_model(cfg, tmp_path / "none.pth", tmp_path)
    with pytest.raises(ConfigError, match="weights are empty"):
        export_model(cfg, "", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export_model(cfg, weights, tmp_path / "file" / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'maskrcnnpp\[export\]'"):
        export_model(cfg, weights, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"model.pth", "file"}


def test_a_stock_model_has_no_depth(cfg, checkpoint, tmp_path):
    cfg.merge_from_list(list(MODELS["stock, timm"]))
    _, weights = checkpoint(cfg)
    with pytest.raises(ConfigError, match="no depth to choose.*NAME is build_timm_fpn"):
        export_model(cfg, weights, tmp_path, depth=2)


@pytest.mark.parametrize("name", ["model.onnx", "model.ts", "model.pth"])
def test_a_file_that_is_not_an_exported_model(tmp_path, name):
    with pytest.raises(ConfigError, match="there is no such file|names end in"):
        Session(tmp_path / name)
    (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(ConfigError, match=f"{name} is not an exported model"):
        Session(tmp_path / name)
