"""Which evaluator a data set gets."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    PascalVOCDetectionEvaluator,
)
from detectron2.structures import Boxes, Instances

from maskrcnnpp.engine import Trainer, evaluators
from maskrcnnpp.engine.evaluators import build_evaluator, check_evaluator
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.evaluation import COCOInstanceEvaluator


@pytest.fixture
def data(tmp_path):
    """Name of a data set of one image with one person, who has two keypoints."""
    box = [10.0, 10.0, 30.0, 30.0]
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": box, "area": 900}
    person |= {"segmentation": [[10, 10, 40, 10, 40, 40, 10, 40]], "num_keypoints": 2}
    person |= {"keypoints": [15, 15, 2, 30, 30, 2]}
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 64}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [person],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    name = "people_for_tests"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(
        json_file=str(tmp_path / "truth.json"),
        image_root=str(tmp_path),
        thing_classes=["person"],
        thing_dataset_id_to_contiguous_id={1: 0},
        **{"dirname": str(tmp_path), "split": "val", "year": 2012},
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_keypoints_are_judged_too(tiny_cfg, data):
    tiny_cfg.MODEL.KEYPOINT_ON = True
    tiny_cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.05, 0.05]
    evaluator = build_evaluator(tiny_cfg, data)
    evaluator.reset()
    found = Instances((64, 64), pred_boxes=Boxes(torch.tensor([[10.0, 10.0, 40.0, 40.0]])))
    found.scores, found.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    # Detectron2 takes half a pixel off, as COCO's are whole numbers
    found.pred_keypoints = torch.tensor([[[15.5, 15.5, 1.0], [30.5, 30.5, 1.0]]])
    evaluator.process([{"image_id": 1}], [{"instances": found}])
    results = evaluator.evaluate()
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["keypoints"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (None, COCOInstanceEvaluator),
        ("coco", COCOInstanceEvaluator),
        ("coco_panoptic_seg", COCOInstanceEvaluator),
        ("pascal_voc", PascalVOCDetectionEvaluator),
        ("cityscapes_instance", CityscapesInstanceEvaluator),
    ],
)
def test_each_kind_of_data_has_its_own(tiny_cfg, data, monkeypatch, kind, expected):
    monkeypatch.setattr(evaluators.importlib.util, "find_spec", lambda name: name)
    if kind:
        MetadataCatalog.get(data).evaluator_type = kind
    assert type(build_evaluator(tiny_cfg, data)) is expected


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("lvis", "evaluator_type 'lvis' needs the package lvis, which is not installed"),
        ("cityscapes_instance", "needs the package cityscapesscripts"),
        ("cityscapes_panoptic_seg", "is 'cityscapes_panoptic_seg'; objects are evaluated by coco"),
        ("my_own", "is 'my_own'; objects are evaluated by coco, coco_panoptic_seg, lvis"),
    ],
)
def test_one_that_is_not_there_is_said_before_a_training(
    tiny_cfg, data, monkeypatch, kind, message
):
    monkeypatch.setattr(evaluators.importlib.util, "find_spec", lambda name: None)
    MetadataCatalog.get(data).evaluator_type = kind
    with pytest.raises(ConfigError, match=message):
        check_evaluator(tiny_cfg, data)


def test_panoptic_models_need_a_package_only_for_panoptic_data(tiny_cfg, data, monkeypatch):
    monkeypatch.setattr(evaluators.importlib.util, "find_spec", lambda name: None)
    tiny_cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    check_evaluator(tiny_cfg, data)
    MetadataCatalog.get(data).evaluator_type = "coco_panoptic_seg"
    with pytest.raises(ConfigError, match="needs the package panopticapi"):
        check_evaluator(tiny_cfg, data)


def test_cityscapes_gets_masks_as_large_as_the_image(tiny_cfg, data, monkeypatch):
    given = []
    monkeypatch.setattr(
        "maskrcnnpp.engine.trainer.with_rle_masks", lambda model: given.append(model) or model
    )
    monkeypatch.setattr("maskrcnnpp.engine.trainer.DefaultTrainer.test", lambda *args: {})
    tiny_cfg.DATASETS.TEST = (data,)
    Trainer.test(tiny_cfg, torch.nn.Identity())
    assert len(given) == 1
    MetadataCatalog.get(data).evaluator_type = "cityscapes_instance"
    Trainer.test(tiny_cfg, torch.nn.Identity())
    assert len(given) == 1
