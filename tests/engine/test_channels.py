"""Training, evaluation and prediction of images of other channels and bits than a photograph."""

import json

import numpy as np
import pytest
import tifffile
import torch
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    get_detection_dataset_dicts,
)
from detectron2.data import build_detection_test_loader as stock_test_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.data.samplers import TrainingSampler
from detectron2.engine import default_argument_parser
from detectron2.utils.env import seed_all_rng
from pycocotools import mask as coco_mask

from maskrcnnpp import Predictor, cli
from maskrcnnpp.data.input_checks import check_input
from maskrcnnpp.data.loader import seed_of
from maskrcnnpp.engine import Trainer, build_config, run
from maskrcnnpp.errors import ConfigError

QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"


@pytest.fixture
def five_channels(tmp_path):
    """Name of a data set of four 64x64 images of five channels and 16 bits, and its folder."""
    folder = tmp_path / "five"
    folder.mkdir()
    images, annotations = [], []
    generator = np.random.default_rng(0)
    for number in range(1, 5):
        planes = generator.normal(3000, 100, (5, 64, 64))
        for corner in (6, 36):
            planes[:, corner : corner + 18, 10:30] += 20000
            mask = np.zeros((64, 64), np.uint8, order="F")
            mask[corner : corner + 18, 10:30] = 1
            rle = coco_mask.encode(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [10, corner, 20, 18],
                    "area": 360,
                    "iscrowd": 0,
                    "segmentation": {"size": [64, 64], "counts": rle["counts"].decode()},
                }
            )
        name = f"{number}.ome.tif"
        metadata = {"axes": "CYX"}
        tifffile.imwrite(folder / name, planes.astype(np.uint16), metadata=metadata, ome=True)
        images.append({"id": number, "file_name": name, "height": 64, "width": 64})
    categories = [{"id": 1, "name": "nucleus"}]
    coco = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "five.json").write_text(json.dumps(coco))
    register_coco_instances("five_channels", {}, str(tmp_path / "five.json"), str(folder))
    yield "five_channels", folder
    DatasetCatalog.remove("five_channels")
    MetadataCatalog.remove("five_channels")


def test_five_channels_of_16_bits_from_training_to_prediction(
    five_channels, tiny_opts, tmp_path, capsys
):
    name, folder = five_channels
    opts = ["DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)"]
    opts += ["INPUT.CHANNELS", "[4, 3, 2, 1, 0]", "INPUT.PERCENTILES", "[1.0, 99.8]"]
    opts += ["MODEL.PIXEL_MEAN", str([50.0] * 5), "MODEL.PIXEL_STD", str([50.0] * 5)]
    opts += ["INPUT.AUGMENT.ROT90", "True", "INPUT.AUGMENT.ELASTIC", "3.0"]
    opts += ["INPUT.AUGMENT.NOISE", "[0.0, 5.0]", "SOLVER.MAX_ITER", "3"]
    args = ["--config-file", QUICK, *tiny_opts, *opts]
    results = run(default_argument_parser().parse_args(args))
    assert set(results) == {"bbox", "segm"}
    output = tmp_path / "output"
    state = torch.load(output / "model_final.pth", weights_only=True)["model"]
    assert state["backbone.bottom_up.stem.conv1.weight"].shape[1] == 5

    files = ["--config-file", str(output / "config.yaml")]
    files += ["--weights", str(output / "model_final.pth")]
    predicted = tmp_path / "predicted"
    words = ["--output", str(predicted), "--score", "0", "--format", "csv", "overlay", "labels"]
    assert cli.run("predict", [str(folder), *files, *words]) == 0
    settings = json.loads((predicted / "run.json").read_text())["settings"]
    assert settings["channels"] == [4, 3, 2, 1, 0] and settings["percentiles"] == [1.0, 99.8]
    assert "4 of 4 images" in capsys.readouterr().out
    words = ["--output", str(tmp_path / "b"), "--channels", "0"]
    assert cli.run("predict", [str(folder), *files, *words]) == 1
    assert "has 1 channel, and the model takes 5 channels: choose" in capsys.readouterr().err

    # what the model sees when it predicts is what it saw when it learnt
    predictor = Predictor.load(*files[1::2], progress=False)
    assert predictor.options.percentiles == (1.0, 99.8) and predictor.model_input.channels == 5
    cfg = build_config(str(output / "config.yaml"))
    (first,) = next(iter(Trainer.build_test_loader(cfg, name)))
    planes = tifffile.imread(first["file_name"])[::-1].astype(float)
    low, high = np.percentile(planes, (1, 99.8), axis=(1, 2), keepdims=True)
    expected = np.clip((planes - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(first["image"], expected, atol=0.01)


def assert_same_input(a, b):
    assert a["file_name"] == b["file_name"] and a["image"].dtype == b["image"].dtype
    assert torch.equal(a["image"], b["image"])
    if "instances" in b:
        assert torch.equal(*(x["instances"].gt_masks.tensor for x in (a, b)))


def test_by_default_evaluation_loads_as_detectron2_bit_for_bit(tiny_cfg):
    name = tiny_cfg.DATASETS.TEST[0]
    pairs = zip(Trainer.build_test_loader(tiny_cfg, name), stock_test_loader(tiny_cfg, name))
    for ours, theirs in pairs:
        assert_same_input(ours[0], theirs[0])


def test_by_default_training_loads_as_detectron2_bit_for_bit(tiny_cfg):
    images = get_detection_dataset_dicts(tiny_cfg.DATASETS.TRAIN)
    order = iter(TrainingSampler(len(images), seed=tiny_cfg.SEED))
    stock, draw = DatasetMapper(tiny_cfg, True), 0
    for batch, _ in zip(Trainer.build_train_loader(tiny_cfg), range(3)):
        for ours in batch:
            seed_all_rng(seed_of(tiny_cfg.SEED, draw))
            assert_same_input(ours, stock(images[next(order)]))
            draw += 1


def test_any_number_of_workers_augments_alike_in_every_run(tiny_cfg):
    tiny_cfg.INPUT.AUGMENT.NOISE = [1.0, 9.0]
    tiny_cfg.INPUT.AUGMENT.ROTATION = 20.0
    found = []
    for workers in (0, 2):
        tiny_cfg.DATALOADER.NUM_WORKERS = workers
        torch.manual_seed(workers)  # which nothing depends on
        loader = iter(Trainer.build_train_loader(tiny_cfg))
        found.append([next(loader) for _ in range(3)])
    for ours, theirs in zip(*found):
        for a, b in zip(ours, theirs):
            assert torch.equal(a["image"], b["image"])
    images = [x["image"] for batch in found[0] for x in batch]
    assert not any(torch.equal(images[0], other) for other in images[1:])


def test_one_channel_of_several_is_grey_for_a_model_of_three(five_channels, tiny_opts):
    name, _ = five_channels
    opts = ["DATASETS.TRAIN", f"('{name}',)", "INPUT.AUGMENT.STAIN", "0.2"]
    opts += ["INPUT.CHANNELS", "[3]", "INPUT.PERCENTILES", "[0.0, 100.0]"]
    cfg = build_config(QUICK, [*tiny_opts, *opts])
    check_input(cfg)
    (first,) = next(iter(Trainer.build_test_loader(cfg, name)))
    plane = tifffile.imread(first["file_name"])[3].astype(float)
    expected = (plane - plane.min()) / (plane.max() - plane.min()) * 255
    for channel in first["image"]:
        np.testing.assert_allclose(channel, expected, atol=0.01)
    assert next(iter(Trainer.build_train_loader(cfg)))[0]["image"].shape[0] == 3


def test_impossible_keys_are_told_before_training(tiny_opts):
    opts = [*tiny_opts, "INPUT.CHANNELS", "[0, 1]"]
    with pytest.raises(ConfigError, match="PIXEL_MEAN has 3 entries and INPUT.CHANNELS 2"):
        run(default_argument_parser().parse_args(["--config-file", QUICK, *opts]))
    cfg = build_config(QUICK, opts)
    for build in (Trainer.build_train_loader, lambda c: Trainer.build_test_loader(c, "x")):
        with pytest.raises(ConfigError, match="INPUT.CHANNELS"):
            build(cfg)
