"""Files through the mapper, against tifffile's own reading and Detectron2's mapper."""

import numpy as np
import pytest
import tifffile
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnnpp import add_maskrcnnpp_config
from maskrcnnpp.data import crop_objects
from maskrcnnpp.data.mapper import MicroscopyMapper, find_mapper
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images import ArrayRaster
from maskrcnnpp.images.intensity import percentile_limits

EVERYTHING = {
    "VERTICAL_FLIP": True,
    "ROT90": True,
    "ROTATION": 20.0,
    "ELASTIC": 4.0,
    "STAIN": 0.3,
    "INVERT": 0.5,
    "GAMMA": [0.7, 1.4],
    "BLUR": [0.0, 1.5],
    "NOISE": [0.0, 10.0],
}


def config(channels=(), percentiles=(), count=3, **augment):
    cfg = get_cfg()
    add_maskrcnnpp_config(cfg)
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0] * count, [50.0] * count
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (0,), 0
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.CHANNELS, cfg.INPUT.PERCENTILES = list(channels), list(percentiles)
    for key, value in augment.items():
        cfg.INPUT.AUGMENT[key] = value
    return cfg


def values(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 60000, shape).astype(dtype)


def entry(path, height=64, width=64, boxes=((10, 12, 30, 40), (0, 0, 5, 5)), polygons=False):
    annotations = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros((height, width), np.uint8, order="F")
        mask[y0:y1, x0:x1] = 1
        outline = [[x0, y0, x1, y0, x1, y1, x0, y1]]
        annotations.append(
            {
                "bbox": [x0, y0, x1, y1],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "segmentation": outline if polygons else coco_mask.encode(mask),
            }
        )
    return {
        "file_name": str(path),
        "height": height,
        "width": width,
        "annotations": annotations,
    }


def expected_of(pixels, percentiles):
    """(channels, H, W), by NumPy alone."""
    low, high = np.percentile(pixels, percentiles, axis=(1, 2), keepdims=True)
    return np.clip((pixels - low) / (high - low), 0, 1) * 255


def test_five_channels_of_16_bits(tmp_path):
    planes = values(5, 64, 64)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata={"axes": "CYX"}, ome=True)
    read = tifffile.imread(tmp_path / "a.ome.tif")
    for channels in ([0, 1, 2, 3, 4], [3, 1]):
        cfg = config(channels, (1.0, 99.0), len(channels))
        for is_train in (True, False):
            found = find_mapper(cfg, is_train)(entry(tmp_path / "a.ome.tif"))
            assert found["image"].dtype == torch.float32
            expected = expected_of(read[channels].astype(float), (1, 99))
            np.testing.assert_allclose(found["image"], expected, atol=0.01)
            assert ("instances" in found) == is_train and "annotations" not in found


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("count", [1, 3])
def test_one_channel_is_grey_or_repeated_for_three(tmp_path, dtype, count):
    plane = values(64, 64, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", plane)
    found = find_mapper(config((), (0.0, 100.0), count), True)(entry(tmp_path / "a.tif"))
    expected = expected_of(tifffile.imread(tmp_path / "a.tif")[None].astype(float), (0, 100))
    np.testing.assert_allclose(found["image"], np.repeat(expected, count, axis=0), atol=0.01)


def test_colours_come_in_the_order_of_the_model(tmp_path):
    colours = values(64, 64, 3)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    cases = (((), "BGR", [2, 1, 0]), ((), "RGB", [0, 1, 2]), ((1, 2, 0), "BGR", [1, 2, 0]))
    for channels, order, expected in cases:
        cfg = config(channels, (0.0, 100.0))
        cfg.INPUT.FORMAT = order
        found = find_mapper(cfg, False)(entry(tmp_path / "a.tif"))["image"]
        wanted = expected_of(colours.transpose(2, 0, 1)[expected].astype(float), (0, 100))
        np.testing.assert_allclose(found, wanted, atol=0.01)


def test_8_bits_stay_as_they_are(tmp_path):
    colours = values(64, 64, 3, dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    found = find_mapper(config([2, 0, 1]), True)(entry(tmp_path / "a.png"))["image"]
    assert found.dtype == torch.uint8
    assert (found.numpy() == colours.transpose(2, 0, 1)[[2, 0, 1]]).all()
    planes = values(5, 64, 64, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", planes, metadata={"axes": "CYX"}, ome=True)
    cfg = config(range(5), (), 5)
    cfg.INPUT.MIN_SIZE_TRAIN = (32,)  # Pillow cannot resize five channels
    found = find_mapper(cfg, True)(entry(tmp_path / "a.tif"))["image"]
    assert found.shape == (5, 32, 32) and found.dtype == torch.float32


def test_photographs_are_turned_as_detectron2_turns_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values(40, 60, 3, dtype=np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    sample = entry(tmp_path / "a.jpg", 60, 40)
    cfg = config([2, 1, 0])  # BGR, which is Detectron2's default
    assert cfg.INPUT.FORMAT == "BGR"
    found = find_mapper(cfg, True)(sample)["image"]
    assert torch.equal(found, DatasetMapper(cfg, True)(sample)["image"])


def test_what_is_read_as_detectron2_reads_it_is_left_to_its_mapper():
    for cfg in (config(), config(ROT90=True)):
        assert isinstance(find_mapper(cfg, True), MicroscopyMapper)
        assert find_mapper(cfg, False) is None
    cfg = config()
    cfg.MODEL.MASK_ON = False
    assert find_mapper(cfg, True) is None


@pytest.mark.parametrize("polygons", [False, True])
def test_without_augmentation_annotations_are_what_detectron2_makes_of_them(tmp_path, polygons):
    Image.fromarray(values(64, 64, 3, dtype=np.uint8)).save(tmp_path / "a.png")
    sample = entry(tmp_path / "a.png", polygons=polygons)
    cfg = config([2, 1, 0])
    cfg.INPUT.MASK_FORMAT = "polygon" if polygons else "bitmask"
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.CROP.ENABLED = "horizontal", True
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "absolute", [40, 48]
    for seed in range(4):
        np.random.seed(seed)
        found = find_mapper(cfg, True)(sample)
        np.random.seed(seed)
        expected = DatasetMapper(cfg, True)(sample)
        assert torch.equal(found["image"], expected["image"])
        ours, theirs = found["instances"], expected["instances"]
        assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
        assert torch.equal(ours.gt_classes, theirs.gt_classes)
        boxes = [x.gt_masks.get_bounding_boxes().tensor for x in (ours, theirs)]
        assert torch.equal(*boxes)


@pytest.mark.parametrize("percentiles", [(), (0.0, 100.0)])
def test_all_augmentations_together(tmp_path, percentiles):
    image = np.zeros((64, 80, 3), np.uint8)
    image[..., :] = (230, 190, 220)
    image[12:40, 10:30] = (60, 20, 120)
    Image.fromarray(image).save(tmp_path / "a.png")
    sample = entry(tmp_path / "a.png", 64, 80, boxes=((10, 12, 30, 40),))
    for seed in range(6):
        found = []
        for _ in range(2):
            np.random.seed(seed)
            found.append(find_mapper(config((), percentiles, **EVERYTHING), True)(sample))
        one, two = found
        assert torch.equal(one["image"], two["image"])
        instances = one["instances"]
        assert torch.equal(instances.gt_masks.tensor, two["instances"].gt_masks.tensor)
        assert one["image"].dtype == (torch.float32 if percentiles else torch.uint8)
        mask = instances.gt_masks.tensor[0].numpy()
        assert mask.shape == tuple(one["image"].shape[1:])
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert instances.gt_boxes.tensor[0].tolist() == box
        # the object is of another brightness than what is around it
        grey = one["image"].float().mean(dim=0).numpy()
        assert abs(grey[mask].mean() - np.median(grey[~mask])) > 40


@pytest.mark.parametrize("scale, factors", [(2.0, []), (1.0, [0.5, 2.0]), (0.5, [1.0, 1.5])])
def test_crops_have_the_same_size_at_every_scale(tmp_path, scale, factors):
    image = np.full((96, 128, 3), 230, np.uint8)
    image[40:72, 50:90] = 20
    Image.fromarray(image).save(tmp_path / "a.png")
    sample = entry(tmp_path / "a.png", 96, 128, boxes=((50, 40, 90, 72),))
    cfg = config(SCALE=factors)
    cfg.INPUT.SCALE = scale
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [32, 32]
    mapper, areas = find_mapper(cfg, True), set()
    for seed in range(12):
        np.random.seed(seed)
        found = mapper(sample)
        assert found["image"].shape == (3, 32, 32)
        masks = found["instances"].gt_masks.tensor
        dark = found["image"][0] < 125
        seen = masks[0] if len(masks) else torch.zeros(32, 32, dtype=torch.bool)
        assert (dark != seen).float().mean() < 0.08  # outlines are interpolated in the image only
        areas.add(int(seen.sum()))
    assert len(areas) > 3
    # without a crop, the object has the area of the factor
    cfg.INPUT.CROP.ENABLED = False
    found = find_mapper(cfg, True)(sample)
    area = found["instances"].gt_masks.tensor.sum().item() / (40 * 32)
    low, high = (scale * factor for factor in factors or (1, 1))
    assert 0.9 * low**2 <= area <= 1.1 * high**2


def test_images_to_evaluate_have_the_scale_of_the_training(tmp_path):
    Image.fromarray(np.zeros((20, 31, 3), np.uint8)).save(tmp_path / "a.png")
    cfg = config(SCALE=[0.5, 2.0])
    assert find_mapper(cfg, False) is None
    cfg.INPUT.SCALE = 2.0
    found = find_mapper(cfg, False)(entry(tmp_path / "a.png", 20, 31))
    assert found["image"].shape == (3, 40, 62)
    assert (found["height"], found["width"]) == (20, 31)  # of what is predicted
    cfg.INPUT.SCALE = 0.0
    with pytest.raises(ConfigError, match="INPUT.SCALE is 0.0"):
        find_mapper(cfg, False)


def test_objects_that_leave_the_image_are_left_out(tmp_path):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    for polygons in (False, True):
        boxes = ((2, 2, 6, 6), (24, 24, 40, 40))
        sample = entry(tmp_path / "a.png", boxes=boxes, polygons=polygons)
        cfg = config(ROTATION=60.0)
        cfg.INPUT.MASK_FORMAT = "polygon" if polygons else "bitmask"
        mapper = find_mapper(cfg, True)
        counts = set()
        for seed in range(24):
            np.random.seed(seed)
            boxes = mapper(sample)["instances"].gt_boxes.tensor
            counts.add(len(boxes))
            assert boxes.min() >= 0 and boxes.max() <= 64
        assert counts == {1, 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": [0, -1], "count": 2}, "INPUT.CHANNELS"),
        ({"channels": [0.5], "count": 1}, "INPUT.CHANNELS"),
        ({"channels": [0, 1]}, "PIXEL_MEAN has 3 entries and INPUT.CHANNELS 2"),
        ({"percentiles": [1.0]}, "INPUT.PERCENTILES"),
        ({"percentiles": [99.0, 1.0]}, "INPUT.PERCENTILES"),
        ({"percentiles": ["a", "b"]}, "INPUT.PERCENTILES"),
        ({"percentiles": [0.0, 100.5]}, "INPUT.PERCENTILES"),
        ({"percentiles": [1.0, 99.0], "count": 5}, "say in INPUT.CHANNELS"),
        ({"ROTATION": -1.0}, "INPUT.AUGMENT.ROTATION"),
        ({"ROTATION": 200.0}, "INPUT.AUGMENT.ROTATION"),
        ({"ELASTIC": -1.0}, "INPUT.AUGMENT.ELASTIC"),
        ({"ELASTIC": float("nan")}, "INPUT.AUGMENT.ELASTIC"),
        ({"STAIN": 1.5}, "INPUT.AUGMENT.STAIN"),
        ({"STAIN": 0.2, "channels": [0, 1, 3]}, "STAIN needs red, green and blue"),
        ({"INVERT": 2.0}, "INPUT.AUGMENT.INVERT"),
        ({"GAMMA": [0.0, 1.0]}, "INPUT.AUGMENT.GAMMA"),
        ({"GAMMA": [2.0]}, "INPUT.AUGMENT.GAMMA"),
        ({"BLUR": [2.0, 1.0]}, "INPUT.AUGMENT.BLUR"),
        ({"NOISE": [-1.0, 1.0]}, "INPUT.AUGMENT.NOISE"),
        ({"SCALE": [0.0, 1.0]}, "INPUT.AUGMENT.SCALE"),
        ({"SCALE": [2.0]}, "INPUT.AUGMENT.SCALE"),
    ],
)
def test_keys_that_cannot_be(options, words):
    with pytest.raises(ConfigError, match=words):
        find_mapper(config(**options), True)


def test_keys_that_do_not_go_together():
    cfg = config(ELASTIC=3.0)
    cfg.INPUT.MASK_FORMAT = "polygon"
    with pytest.raises(ConfigError, match='ELASTIC.*INPUT.MASK_FORMAT to "bitmask"'):
        find_mapper(cfg, True)
    cfg = config(STAIN=0.1)
    cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = "L", [1.0], [1.0]
    with pytest.raises(ConfigError, match="STAIN needs red"):
        find_mapper(cfg, True)
    cfg = config(percentiles=[1.0, 99.0])
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(ConfigError, match="INPUT.FORMAT"):
        find_mapper(cfg, True)
    cfg = config(NOISE=[0.0, 1.0])
    cfg.INPUT.FORMAT = "YUV-BT.601"
    with pytest.raises(ConfigError, match="INPUT.FORMAT"):
        find_mapper(cfg, True)


def test_files_that_cannot_be_used_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "deep.tif", values(64, 64))
    tifffile.imwrite(tmp_path / "two.tif", values(2, 64, 64), metadata={"axes": "CYX"}, ome=True)
    Image.fromarray(values(64, 64, 3, dtype=np.uint8)).save(tmp_path / "colour.png")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((64, 64), np.nan, np.float32))
    (tmp_path / "text.png").write_text("no image")
    cases = [
        ("deep.tif", config([0], (), 1), "deep.tif is uint16, not 8-bit: give two INPUT.PERCENT"),
        ("two.tif", config([0, 5], (1.0, 99.0), 2), "two.tif has channels 0..1, not all"),
        ("two.tif", config((), (1.0, 99.0)), "two.tif has 2 channels; choose .*INPUT.CHANNELS"),
        ("colour.png", config((), (1.0, 99.0), 1), "colour.png has 3 channels.* takes 1 channel:"),
        ("nan.tif", config((), (1.0, 99.0)), "nan.tif has values that are NaN"),
        ("text.png", config([0, 1, 2]), "text.png"),
        ("text.png", config(ROT90=True), "text.png cannot be read"),
        ("nowhere.png", config(ROT90=True), "nowhere.png cannot be read"),
    ]
    for name, cfg, words in cases:
        with pytest.raises(DataError, match=words):
            find_mapper(cfg, True)(entry(tmp_path / name))
    with pytest.raises(DataError, match="colour.png or its annotations.*expect"):
        find_mapper(config([0, 1, 2]), True)(entry(tmp_path / "colour.png", 70, 64))
    sample = entry(tmp_path / "colour.png")
    sample["annotations"][0]["segmentation"] = {"size": [9, 9], "counts": b"a"}
    with pytest.raises(DataError, match="colour.png or its annotations"):
        find_mapper(config([0, 1, 2]), True)(sample)


@pytest.mark.parametrize(
    ("mean", "std", "form", "message"),
    [
        ([1.0] * 3, [1.0] * 2, "BGR", "PIXEL_MEAN has 3 entries and MODEL.PIXEL_STD 2"),
        ([1.0] * 2, [1.0] * 2, "BGR", "PIXEL_MEAN has 2 entries; INPUT.FORMAT 'BGR' has 3"),
        ([1.0] * 3, [1.0] * 3, "L", "PIXEL_MEAN has 3 entries; INPUT.FORMAT 'L' has 1"),
        ([1.0] * 3, [0.0, 1.0, 1.0], "RGB", "a standard deviation above 0"),
    ],
)
def test_means_that_do_not_fit_the_channels(mean, std, form, message):
    cfg = config()
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.INPUT.FORMAT = mean, std, form
    with pytest.raises(ConfigError, match=message):
        find_mapper(cfg, True)


def test_colours_in_another_order_than_the_weights_are_told(caplog):
    cfg = config([0, 1, 2])
    cfg.MODEL.WEIGHTS = "R-50.pkl"
    find_mapper(cfg, True)
    assert "weights that know BGR want [2, 1, 0]" in caplog.text


@pytest.mark.parametrize("mask_format", ["bitmask", "polygon"])
@pytest.mark.parametrize("boxes", [(), ((0, 0, 5, 5),)])
def test_images_without_an_object_in_sight(tmp_path, boxes, mask_format):
    Image.fromarray(values(64, 64, 3, dtype=np.uint8)).save(tmp_path / "a.png")
    cfg = config([2, 1, 0])
    cfg.INPUT.MASK_FORMAT = mask_format
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [20, 24]
    np.random.seed(1)  # a crop without the object
    sample = entry(tmp_path / "a.png", boxes=boxes, polygons=mask_format == "polygon")
    found = find_mapper(cfg, True)(sample)["instances"]
    assert len(found) == len(found.gt_masks) == 0 and found.image_size == (20, 24)
    assert found.gt_boxes.tensor.shape == (0, 4) and found.gt_masks[[]] is not None


@pytest.mark.parametrize("segmentation", [None, []])
def test_objects_without_masks_are_told(tmp_path, segmentation):
    Image.fromarray(values(64, 64, 3, dtype=np.uint8)).save(tmp_path / "a.png")
    sample = entry(tmp_path / "a.png")
    sample["annotations"][1]["segmentation"] = segmentation
    with pytest.raises(DataError, match="a.png: .*no segmentation; set MODEL.MASK_ON to False"):
        find_mapper(config([0, 1, 2]), True)(sample)


@pytest.mark.parametrize("seed", range(6))
def test_leaving_out_what_is_out_of_sight_changes_nothing(tmp_path, monkeypatch, seed):
    Image.fromarray(values(96, 80, 3, dtype=np.uint8)).save(tmp_path / "a.png")
    corners = np.random.default_rng(seed).integers(0, 70, (60, 2))
    boxes = [(x, y, x + 1 + k % 9, y + 1 + k % 7) for k, (x, y) in enumerate(corners.tolist())]
    sample = entry(tmp_path / "a.png", 96, 80, boxes)
    cfg = config([2, 1, 0], **EVERYTHING)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [32, 40]
    found = []
    for margin in (1e9, None):
        if margin is None:
            monkeypatch.undo()
        else:
            monkeypatch.setattr(crop_objects, "_MARGIN", margin)
        np.random.seed(seed)
        found.append(find_mapper(cfg, True)(sample))
    ours, theirs = (x["instances"] for x in found)
    assert torch.equal(found[0]["image"], found[1]["image"]) and 0 < len(ours) < 60
    assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
    assert torch.equal(ours.gt_masks.tensor, theirs.gt_masks.tensor)


def test_polygons_are_bent_as_pixels_are(tmp_path):
    Image.fromarray(values(64, 64, 3, dtype=np.uint8)).save(tmp_path / "a.png")
    cfg, masks = config([2, 1, 0], ELASTIC=8.0), []
    for polygons in (False, True):
        np.random.seed(3)
        sample = entry(tmp_path / "a.png", boxes=((8, 20, 56, 40),), polygons=polygons)
        masks.append(find_mapper(cfg, True)(sample)["instances"].gt_masks.tensor)
    assert torch.equal(*masks)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 2), (64, 50, 3)])
def test_percentiles_are_those_of_numpy(dtype, shape):
    pixels = np.random.default_rng(0).normal(50, 40, shape).astype(dtype)
    for percentiles in ((1.0, 99.8), (0.0, 100.0), (33.3, 50.0)):
        found = percentile_limits(ArrayRaster(pixels), percentiles)
        low, high = np.percentile(pixels.reshape(-1, shape[2]), percentiles, axis=0)
        np.testing.assert_allclose(found.low, low, rtol=1e-12)
        np.testing.assert_allclose(found.high, high, rtol=1e-12)
