import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage

import maskrcnnpp
from maskrcnnpp import Predictor
from maskrcnnpp.engine import build_config
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images import ArrayRaster, intensity
from maskrcnnpp.inference import RleRCNN
from maskrcnnpp.inference.tta import AugmentedRCNN

QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"


class BrightSquares(torch.nn.Module):
    """In the place of a trained model: finds bright squares, and the parts of them that it sees."""

    def __init__(self, box_score=None):
        super().__init__()
        self.seen = []
        self.box_score = box_score

    def inference(self, inputs, do_postprocess):
        assert not do_postprocess and not self.training
        return [self.find(entry["image"]) for entry in inputs]

    def find(self, image):
        self.seen.append(image)
        labels, count = ndimage.label(image[0].numpy() > 128)
        places = ndimage.find_objects(labels)
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in places]
        found = Instances(
            tuple(image.shape[1:]),
            pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
            scores=torch.full((count,), 0.9),
            pred_classes=torch.zeros(count, dtype=torch.int64),
            pred_masks=torch.ones(count, 1, 28, 28),
        )
        if self.box_score is not None:
            found.box_scores = torch.full((count,), self.box_score)
        return found


def squares(height=200, width=260):
    image = np.zeros((height, width), dtype=np.uint8)
    for top in range(3, height - 12, 16):
        for left in range(5, width - 12, 14):
            image[top : top + 9, left : left + 8] = 200
    return image


@pytest.mark.parametrize("batch_size", [1, 3])
def test_tiles_find_what_the_whole_image_shows(batch_size):
    image = squares()
    options = {"progress": False, "batch_size": batch_size}
    whole = Predictor(BrightSquares(), tile_size=512, **options)(image)
    tiled = Predictor(BrightSquares(), tile_size=64, overlap=16, **options)(image)
    expected, count = ndimage.label(image > 128)
    assert len(whole) == len(tiled) == count > 100
    for found in (whole, tiled):
        labels = found.labels()
        assert labels.dtype == np.uint16
        assert ((labels > 0) == (image > 128)).all()
        assert len({(a, b) for a, b in zip(labels.ravel(), expected.ravel())}) == count + 1


def test_what_is_found_comes_in_every_form():
    image = squares()
    found = Predictor(BrightSquares(), tile_size=100, overlap=20, progress=False)(image)
    (results, rles) = found.to_coco("a.png", [7]), found.rles()
    assert {r["category_id"] for r in results} == {7} and results[0]["image_id"] == "a.png"
    assert coco_mask.area(rles[0]) == 72 and rles[0]["size"] == [200, 260]
    np.testing.assert_allclose(coco_mask.toBbox(rles[0]), results[0]["bbox"])
    instances = found.to_instances()
    assert len(instances) == len(found) == len(list(found))
    assert instances.pred_masks.area().tolist() == [entry.area for entry in found]
    assert found.boxes.shape == (len(found), 4) and found.scores.min() > 0.8
    assert not found.categories.any()


def test_nothing_found():
    found = Predictor(BrightSquares(), tile_size=32, overlap=8)(np.zeros((1, 1), np.uint8))
    assert len(found) == 0 and found.boxes.shape == (0, 4)
    assert found.labels().tolist() == [[0]] and found.to_coco(1) == []


def test_it_finds_what_detectron2_does(tiny_cfg, make_input):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model = build_model(tiny_cfg).eval()
    batch = make_input(3)
    with torch.no_grad():
        (expected,) = RleRCNN(model)([batch])
    expected = expected["instances"]
    image = batch["image"].byte().permute(1, 2, 0).numpy()
    found = Predictor(model, score_threshold=0.0, overlaps="keep")(image)
    with_pixels = [rle for rle in expected.pred_masks.rles if coco_mask.area(rle)]
    assert len(with_pixels) > 0
    assert sorted(r["counts"] for r in found.rles()) == sorted(r["counts"] for r in with_pixels)


def test_channels_come_in_the_order_that_the_model_knows():
    image = np.zeros((8, 8, 4), dtype=np.uint8)
    image[:] = (10, 20, 30, 255)
    for input_format, expected in (("RGB", [10, 20, 30]), ("BGR", [30, 20, 10])):
        model = BrightSquares()
        Predictor(model, input_format=input_format)(image)
        assert model.seen[0].shape == (3, 8, 8) and model.seen[0].dtype == torch.float32
        assert model.seen[0][:, 0, 0].tolist() == expected
    model = BrightSquares()
    Predictor(model)(image[..., :1])
    assert model.seen[0][:, 0, 0].tolist() == [10, 10, 10]


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_a_model_of_another_number_of_channels(count):
    image = np.arange(64 * count, dtype=np.uint8).reshape(8, 8, count)
    model = BrightSquares()
    predictor = Predictor(model, channels_of_model=count, input_format="BGR")
    predictor(image)
    assert (model.seen[0].numpy() == image.transpose(2, 0, 1)).all()
    words = f"has 3 channels, and the model takes {count} channels?: choose with --channels"
    with pytest.raises(DataError, match=words):
        predictor(np.zeros((8, 8, 3), np.uint8))
    if count == 1:
        predictor(image[..., 0])
        assert torch.equal(model.seen[0], model.seen[1])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_other_ranges_of_values(dtype):
    image = (squares().astype(np.float64) * 20 + 5).astype(dtype)
    model = BrightSquares()
    found = Predictor(model, percentiles=(0, 100), progress=False)(image)
    assert len(found) > 100
    assert model.seen[0].min() == 0 and model.seen[0].max() == 255
    flat = Predictor(BrightSquares(), percentiles=(1, 99))(np.full((9, 9), 7, dtype=dtype))
    assert len(flat) == 0


@pytest.mark.parametrize(
    ("image", "percentiles", "words"),
    [
        (np.zeros((4, 4), np.uint16), None, "uint16, not 8-bit: give percentiles"),
        (np.zeros((4, 4), bool), (1, 99), "not a number"),
        (np.zeros((4, 4), complex), (1, 99), "complex"),
        (np.zeros((0, 4), np.uint8), None, "empty: 0x4"),
        (np.zeros((4, 4, 2), np.uint8), None, "4x4x2 has 2 channels, .* takes 3 channels"),
        (np.zeros((2, 3, 4, 4, 3), np.uint8), None, "2x3x4x4x3 is not an image"),
        (np.zeros(4, np.uint8), None, "not an image"),
        (np.full((4, 4), np.nan, np.float32), (1, 99), "NaN or infinite"),
        (np.full((4, 4), np.inf, np.float32), (1, 99), "NaN or infinite"),
    ],
)
def test_arrays_that_are_no_such_image(image, percentiles, words):
    with pytest.raises(DataError, match=words):
        Predictor(BrightSquares(), percentiles=percentiles)(image)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"tile_size": 64, "overlap": 40}, "overlap"),
        ({"tile_size": 0, "overlap": 0}, "tile_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"percentiles": (99, 1)}, "percentiles"),
        ({"input_format": "L"}, "INPUT.FORMAT"),
        ({"score_threshold": 7}, "score_threshold"),
        ({"scales": ()}, "scales"),
        ({"scales": (0.0,)}, "scales"),
        ({"precision": "int4"}, "precision"),
        ({"flips": True}, "AugmentedRCNN"),
    ],
)
def test_options_that_cannot_work(options, word):
    with pytest.raises(ConfigError, match=word):
        Predictor(BrightSquares(), **options)


def test_a_training_is_loaded(tmp_path):
    weights = tmp_path / "model_final.pth"
    cfg = build_config(QUICK, ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    torch.save({"model": model.state_dict()}, weights)
    opts = ["MODEL.DEVICE", "cpu", "MODEL.NESTED_FPN.DEPTH", "2"]
    predictor = Predictor.load(QUICK, weights, opts=opts, tile_size=48, overlap=16, progress=False)
    assert not predictor.model.training and predictor.model.backbone.depth == 2
    name = "backbone.grid.x_0_2.0.weight"
    assert torch.equal(predictor.model.state_dict()[name], model.state_dict()[name])
    assert isinstance(predictor(np.zeros((60, 50, 3), np.uint8)).labels(), np.ndarray)
    assert maskrcnnpp.Predictor is Predictor


def test_masks_are_computed_of_the_objects_that_are_shown(tmp_path):
    """The same objects as of all, from a score on."""
    weights = tmp_path / "a.pth"
    torch.save({"model": build_model(build_config(QUICK, ["MODEL.DEVICE", "cpu"])).state_dict()},
               weights)  # fmt: skip
    opts = ["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    load = {"opts": opts, "overlaps": "keep", "progress": False}
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    everything = Predictor.load(QUICK, weights, score_threshold=0.0, **load)(image)
    limit = float(np.median(everything.scores)) + 1e-4
    predictor = Predictor.load(QUICK, weights, score_threshold=limit, **load)
    seen = []
    predictor.model.roi_heads.mask_head.register_forward_hook(
        lambda head, args, output: seen.append(len(args[1][0]))
    )
    found = predictor(image)
    expected = [entry for entry in everything if entry.score >= limit]
    assert 0 < len(expected) < len(everything)
    np.testing.assert_allclose(found.scores, [entry.score for entry in expected], atol=1e-6)
    assert [x.area for x in found] == [x.area for x in expected]
    assert len(expected) <= seen[0] < len(everything)


def test_weights_that_leave_something_at_random(tmp_path):
    model = build_model(build_config(QUICK, ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": model.state_dict()}, tmp_path / "a.pth")
    opts = ["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", "3"]
    with pytest.raises(ConfigError, match="does not fill the model.*roi_heads.*would be random"):
        Predictor.load(QUICK, tmp_path / "a.pth", opts=opts)


@pytest.mark.parametrize(
    ("weights", "opts", "word"),
    [
        ("nowhere.pth", [], "nowhere.pth: there is no such file"),
        (QUICK, ["MODEL.MASK_ON", "False"], "MODEL.MASK_ON"),
        (QUICK, ["INPUT.MIN_SIZE_TEST", "800"], "INPUT.MIN_SIZE_TEST"),
        (QUICK, [], "cannot be loaded"),
        ("", [], "weights are empty"),
    ],
)
def test_what_cannot_be_loaded(weights, opts, word):
    with pytest.raises(ConfigError, match=word):
        Predictor.load(QUICK, weights, opts=["MODEL.DEVICE", "cpu", *opts])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_pools_at_the_same_places(tiny_cfg, precision):
    """Box coordinates of a large image have more digits than bfloat16."""
    model = build_model(tiny_cfg)
    features = {
        f"p{level}": torch.rand(1, 32, 2, 1024 // 2 ** (level - 0)) for level in (2, 3, 4, 5)
    }
    boxes = [Boxes(torch.tensor([[701.3, 0.2, 713.1, 7.7], [2.0, 1.0, 9.0, 7.0]]))]
    seen = []
    model.backbone.register_forward_hook(lambda *args: seen.append(args[-1]["p2"].dtype))
    Predictor(model, precision=precision)(np.zeros((64, 64), np.uint8))
    assert seen == [getattr(torch, precision)]
    names = tiny_cfg.MODEL.ROI_HEADS.IN_FEATURES
    exact = model.roi_heads.box_pooler([features[name] for name in names], boxes)
    low = [features[name].to(getattr(torch, precision)) for name in names]
    found = model.roi_heads.box_pooler(low, boxes)
    torch.testing.assert_close(found.float(), exact, atol=0.01, rtol=0)


def test_tiles_with_as_many_objects_as_the_model_can_give_are_told(caplog):
    image = squares()
    options = {"tile_size": 100, "overlap": 20, "progress": False}
    Predictor(BrightSquares(), detection_limit=1000, **options)(image)
    assert not caplog.records
    Predictor(BrightSquares(), detection_limit=30, **options)(image)
    assert "tiles have the 30 objects at which the model stops" in caplog.text
    caplog.clear()
    # with a score that leaves some of them out all others are there
    options["score_threshold"] = 0.95
    Predictor(BrightSquares(), detection_limit=30, **options)(image)
    assert not caplog.records
    # unless the masks lowered their scores, after the limit
    assert len(Predictor(BrightSquares(0.99), detection_limit=30, **options)(image)) == 0
    assert "tiles have the 30 objects at which the model stops" in caplog.text


def test_an_image_is_read_tile_by_tile():
    class Watched(ArrayRaster):
        largest = 0

        def _read(self, top, left, bottom, right):
            self.largest = max(self.largest, (bottom - top) * (right - left))
            return super()._read(top, left, bottom, right)

    image = squares()
    raster = Watched(image[..., None])
    found = Predictor(BrightSquares(), tile_size=64, overlap=16, progress=False)(raster)
    assert raster.largest == 64 * 64
    whole = Predictor(BrightSquares(), tile_size=512)(image)
    assert (found.labels() > 0).tolist() == (whole.labels() > 0).tolist()


def test_percentiles_of_an_image_that_is_larger_than_a_sample(monkeypatch):
    monkeypatch.setattr(intensity, "_SAMPLE", 1000)
    image = np.random.default_rng(0).normal(1000, 50, (300, 400, 2)).astype(np.float32)
    limits = intensity.percentile_limits(ArrayRaster(image), (1, 99))
    expected = np.percentile(image, (1, 99), axis=(0, 1))
    np.testing.assert_allclose([limits.low, limits.high], expected, rtol=0.02)
    monkeypatch.setattr(intensity, "_SAMPLE", 2**24)
    limits = intensity.percentile_limits(ArrayRaster(image), (1, 99))
    np.testing.assert_allclose([limits.low, limits.high], expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3)),
    spread=st.sampled_from([1, 3, 200, 2**16]),
    percentiles=st.tuples(st.floats(0, 100), st.floats(0, 100)),
    seed=st.integers(0, 2**32 - 1),
)
def test_percentiles_of_small_integers_are_numpys(dtype, shape, spread, percentiles, seed):
    about = np.iinfo(dtype)
    low = np.random.default_rng(seed).integers(about.min, about.max, endpoint=True)
    values = np.random.default_rng(seed).integers(low, low + spread, shape)
    image = values.clip(about.min, about.max).astype(dtype)
    limits = intensity.percentile_limits(ArrayRaster(image), percentiles)
    # of float64: differences of small integers would not fit into them
    expected = np.percentile(image.astype(float), percentiles, axis=(0, 1))
    assert (np.stack([limits.low, limits.high]) == expected).all()


def test_percentiles_are_counted_block_by_block(monkeypatch):
    image = np.random.default_rng(0).integers(0, 60000, (90, 70, 2)).astype(np.uint16)
    raster = ArrayRaster(image)
    blocks = raster.blocks
    monkeypatch.setattr(raster, "blocks", lambda: blocks(32))
    limits = intensity.percentile_limits(raster, (1.0, 99.8))
    assert ([limits.low, limits.high] == np.percentile(image, (1.0, 99.8), axis=(0, 1))).all()


def test_flips_and_scales_are_loaded(tmp_path):
    model = build_model(build_config(QUICK, ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": model.state_dict()}, tmp_path / "a.pth")
    load = {"opts": ["MODEL.DEVICE", "cpu"], "progress": False}
    predictor = Predictor.load(QUICK, tmp_path / "a.pth", flips=True, scales=(1.0, 0.5), **load)
    assert isinstance(predictor.model, AugmentedRCNN) and not predictor.model.model.training
    assert predictor.detection_limit == 500
    predictor(np.zeros((64, 50, 3), np.uint8))
    # scales are relative to the training's
    load["opts"] = [*load["opts"], "INPUT.SCALE", "2.0"]
    assert Predictor.load(QUICK, tmp_path / "a.pth", **load).options.scales == (2.0,)
    halves = Predictor.load(QUICK, tmp_path / "a.pth", scales=(0.5, 1.0), **load)
    assert halves.options.scales == (1.0, 2.0)


@pytest.mark.parametrize(
    ("dtype", "low", "step"), [(np.uint32, 1.7e9, 1), (np.float64, 1e12, 1), (np.float32, 0, 1e-14)]
)
def test_values_whose_differences_are_small(dtype, low, step):
    image = (low + step * np.arange(100).reshape(10, 10, 1)).astype(dtype)
    limits = intensity.percentile_limits(ArrayRaster(image), (0, 100))
    expected = np.linspace(0, 255, 100).reshape(10, 10, 1)
    np.testing.assert_allclose(limits.apply(image), expected, atol=0.01)


class Normalized(BrightSquares):
    def __init__(self, norm):
        super().__init__()
        self.backbone = torch.nn.Sequential(norm)
        self.roi_heads = torch.nn.Sequential(torch.nn.GroupNorm(1, 4))  # sees objects, not tiles


@pytest.mark.parametrize("norm", [torch.nn.GroupNorm(2, 4), torch.nn.InstanceNorm2d(4)])
def test_that_a_normalization_sees_tiles_is_said_once(norm, caplog):
    image = squares()
    predictor = Predictor(Normalized(norm), tile_size=260, progress=False)
    predictor(image)
    assert not caplog.records
    predictor = Predictor(Normalized(norm), tile_size=64, overlap=16, progress=False)
    predictor(image)
    (record,) = caplog.records
    assert f"tiles of 64 pixels, and the model's {type(norm).__name__}" in record.message
    assert "or as this image (260)" in record.message
    predictor(image)
    assert len(caplog.records) == 1


def test_one_that_does_not_see_tiles_needs_no_word(caplog):
    model = Normalized(torch.nn.BatchNorm2d(4))
    Predictor(model, tile_size=64, overlap=16, progress=False)(squares())
    assert not caplog.records


@pytest.mark.parametrize(
    "image",
    [Image.new("RGB", (8, 8)), torch.zeros(3, 8, 8), [[0, 0], [0, 0]], None, "image.png"],
    ids=["pillow", "tensor", "list", "none", "path"],
)
def test_what_is_not_an_array_is_refused_in_words(image):
    with pytest.raises(DataError, match=f"{type(image).__qualname__}; give a NumPy array"):
        Predictor(BrightSquares())(image)
