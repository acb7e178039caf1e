"""COCOInstanceEvaluator, driven as Detectron2's inference_on_dataset does."""

from __future__ import annotations

import json
import math

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import inference_on_dataset, print_csv_format, verify_results
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

from maskrcnnpp.errors import ConfigError, DataError, UserError
from maskrcnnpp.evaluation import COCOInstanceEvaluator, write_coco_metrics
from maskrcnnpp.evaluation.coco_metrics import METRICS
from maskrcnnpp.inference import RleMasks

HEIGHT, WIDTH, NAME = 96, 128, "maskrcnnpp_test_evaluator"
CATEGORY = 7  # not 1: the evaluator must map the model's 0 to it


def corners(count):
    return [(8 * (k % 16), 8 * (k // 16)) for k in range(count)]


def truth_dict(counts, categories=(CATEGORY,)):
    """Image k + 1 has counts[k] squares of 6 pixels, of the first category."""
    annotations = []
    for image_id, count in enumerate(counts, start=1):
        for x, y in corners(count):
            polygon = [x, y, x + 6, y, x + 6, y + 6, x, y + 6]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": categories[0],
                    "bbox": [x, y, 6, 6],
                    "area": 36,
                    "iscrowd": 0,
                    "segmentation": [polygon],
                }
            )
    return {
        "images": [
            {"id": k, "height": HEIGHT, "width": WIDTH, "file_name": f"{k}.png"}
            for k in range(1, len(counts) + 1)
        ],
        "categories": [{"id": c, "name": f"kind{c}"} for c in categories],
        "annotations": annotations,
    }


def instances(count, *, masks=True, predicted_class=0):
    found = Instances((HEIGHT, WIDTH))
    boxes = [(x, y, x + 6, y + 6) for x, y in corners(count)]
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.scores = torch.linspace(0.9, 0.5, count)
    found.pred_classes = torch.full((count,), predicted_class)
    if masks:
        found.pred_masks = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.bool)
        for index, (x, y) in enumerate(corners(count)):
            found.pred_masks[index, y : y + 6, x : x + 6] = True
    return found


@pytest.fixture
def register(tmp_path):
    """Register a truth dict under NAME for one test."""

    def make(truth):
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(truth))
        register_coco_instances(NAME, {}, str(path), str(tmp_path))

    yield make
    if NAME in DatasetCatalog.list():
        DatasetCatalog.remove(NAME)
    if NAME in MetadataCatalog.list():
        MetadataCatalog.remove(NAME)


def run(evaluator, predictions):
    evaluator.reset()
    for image_id, found in enumerate(predictions, start=1):
        evaluator.process([{"image_id": image_id}], [{"instances": found}])
    return evaluator.evaluate()


def test_150_objects_found_are_ap_100_and_the_files_say_so(register, tmp_path):
    register(truth_dict([150, 0]))
    output = tmp_path / "out"
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, output_dir=output, max_dets_per_image=200)
    metrics = run(evaluator, [instances(150), instances(0)])
    assert list(metrics) == ["bbox", "segm"]
    for values in metrics.values():
        assert list(values) == [*METRICS]
        assert values["AP"] == values["AR"] == pytest.approx(100)
        assert math.isnan(values["APl"])

    results = json.loads((output / "coco_instances_results.json").read_text())
    assert len(results) == 150
    assert results[0]["category_id"] == CATEGORY
    assert results[0]["bbox"] == [0, 0, 6, 6]
    assert isinstance(results[0]["segmentation"]["counts"], str)
    assert mask_util.area(results[0]["segmentation"]) == 36

    text = (output / "coco_metrics.json").read_text()
    assert "NaN" not in text
    summary = json.loads(text)
    assert {key: summary[key] for key in ("dataset", "images", "max_dets")} == {
        "dataset": NAME,
        "images": 2,
        "max_dets": 200,
    }
    assert (summary["truths"], summary["detections"]) == (150, 150)
    assert summary["segm"]["APl"] is None
    table = (output / "coco_metrics.md").read_text().splitlines()
    assert NAME in table[0]
    assert [cell.strip() for cell in table[-1].strip("|").split("|")] == [
        *("segm", "100.00", "100.00", "100.00", "100.00", "n/a", "n/a"),
        *("100.00", "100.00", "n/a", "n/a"),
    ]


def test_a_false_detection_in_an_empty_image_costs(register):
    register(truth_dict([4, 0]))
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    clean = run(evaluator, [instances(4), instances(0)])
    dirty = run(evaluator, [instances(4), instances(3)])
    assert clean["segm"]["AP"] == pytest.approx(100)
    assert dirty["segm"]["AP"] < 90  # also: reset() forgot the first run


@pytest.mark.parametrize("predictions", [[], [instances(0), instances(0)]])
def test_no_detections_are_ap_0(register, tmp_path, predictions):
    register(truth_dict([3, 2]))
    evaluator = COCOInstanceEvaluator(
        dataset_name=NAME, output_dir=tmp_path / "out", max_dets_per_image=100
    )
    metrics = run(evaluator, predictions)
    assert metrics["bbox"]["AP"] == metrics["segm"]["AP"] == 0
    assert json.loads((tmp_path / "out" / "coco_instances_results.json").read_text()) == []


def test_a_model_without_masks_is_judged_by_boxes_only(register):
    register(truth_dict([3]))
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    metrics = run(evaluator, [instances(3, masks=False)])
    assert list(metrics) == ["bbox"]
    assert metrics["bbox"]["AP"] == pytest.approx(100)


def test_truths_without_masks_are_judged_by_boxes_only(register):
    truth = truth_dict([3])
    for annotation in truth["annotations"]:
        del annotation["segmentation"]
    register(truth)
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    assert list(run(evaluator, [instances(3)])) == ["bbox"]


def test_images_that_were_not_predicted_are_told(register, caplog):
    register(truth_dict([3, 3]))
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    with caplog.at_level("WARNING", logger="maskrcnnpp"):
        metrics = run(evaluator, [instances(3)])
    assert metrics["segm"]["AR"] == pytest.approx(50)
    assert "1 of the 2 images" in caplog.text


def test_more_classes_than_the_dataset_has(register):
    register(truth_dict([1]))
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    with pytest.raises(ConfigError, match="NUM_CLASSES"):
        run(evaluator, [instances(1, predicted_class=1)])


@pytest.mark.parametrize("loaded", [False, True])
def test_category_ids_come_back(register, loaded):
    """With Detectron2's mapping, made when the dataset is first loaded, and without."""
    register(truth_dict([2], categories=(9, CATEGORY)))
    if loaded:
        DatasetCatalog.get(NAME)
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    metrics = run(evaluator, [instances(2, predicted_class=1)])
    assert metrics["bbox"]["AP-kind9"] == pytest.approx(100)
    assert math.isnan(metrics["bbox"]["AP-kind7"])


def test_gathers_over_processes(register, monkeypatch):
    register(truth_dict([2, 3]))
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    other = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    other.process([{"image_id": 2}], [{"instances": instances(3)}])
    sent = []

    def not_main(data, dst=0):
        sent.append(data)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(comm, "gather", not_main)
        patch.setattr(comm, "is_main_process", lambda: False)
        assert other.evaluate() == {}
    monkeypatch.setattr(comm, "gather", lambda data, dst=0: [data, *sent])
    assert run(evaluator, [instances(2)])["segm"]["AP"] == pytest.approx(100)


def test_other_processes_do_not_read_the_truth(register, monkeypatch):
    register(truth_dict([1]))
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    monkeypatch.setattr("maskrcnnpp.evaluation.coco_evaluation.load_coco_truth", None)
    COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)


def test_fits_detectron2(register, tmp_path):
    """inference_on_dataset, print_csv_format and verify_results take it as it is."""
    register(truth_dict([2, 1]))

    class Oracle(torch.nn.Module):
        def forward(self, batch):
            return [{"instances": instances(record["count"])} for record in batch]

    loader = [[{"image_id": 1, "count": 2}], [{"image_id": 2, "count": 1}]]
    evaluator = COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    metrics = inference_on_dataset(Oracle(), loader, evaluator)
    print_csv_format(metrics)
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = [["segm", "AP", 100.0, 0.01], ["bbox", "AR", 100.0, 0.01]]
    assert verify_results(cfg, metrics)


def test_a_test_set_without_annotations(register, tmp_path):
    truth = truth_dict([2])
    del truth["annotations"]
    register(truth)
    evaluator = COCOInstanceEvaluator(
        dataset_name=NAME, output_dir=tmp_path / "out", max_dets_per_image=100
    )
    assert run(evaluator, [instances(2)]) == {}
    assert (tmp_path / "out" / "coco_instances_results.json").exists()
    assert not (tmp_path / "out" / "coco_metrics.json").exists()


def test_a_dataset_that_is_no_coco_file(register, tmp_path):
    x, y = 8, 16
    record = {
        "file_name": "1.png",
        "image_id": 1,
        "height": HEIGHT,
        "width": WIDTH,
        "annotations": [
            {
                "bbox": [x, y, x + 6, y + 6],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "segmentation": [[x, y, x + 6, y, x + 6, y + 6, x, y + 6]],
            }
        ],
    }
    DatasetCatalog.register(NAME, lambda: [record])
    MetadataCatalog.get(NAME).thing_classes = ["nucleus"]
    found = instances(1)
    found.pred_boxes = Boxes(torch.tensor([[8.0, 16.0, 14.0, 22.0]]))
    found.pred_masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    found.pred_masks[0, y : y + 6, x : x + 6] = True

    with pytest.raises(UserError, match="output_dir"):
        COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    evaluator = COCOInstanceEvaluator(
        dataset_name=NAME, output_dir=tmp_path / "out", max_dets_per_image=100
    )
    metrics = run(evaluator, [found])
    assert metrics["segm"]["AP"] == pytest.approx(100)


def test_errors_come_before_inference(register, tmp_path):
    register(truth_dict([1]))
    (tmp_path / "truth.json").unlink()
    with pytest.raises(DataError, match="truth.json"):
        COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=100)
    with pytest.raises(ValueError, match="max_dets_per_image"):
        COCOInstanceEvaluator(dataset_name=NAME, max_dets_per_image=0)


def test_unknown_dataset():
    name = "maskrcnnpp_test_never_registered"
    with pytest.raises(UserError, match=name):
        COCOInstanceEvaluator(dataset_name=name, max_dets_per_image=100)
    assert name not in MetadataCatalog.list()


def test_metrics_file_has_null_for_nan_and_keeps_categories(tmp_path):
    values = {"AP": 12.345, "AP-a": np.nan, "APs": None}
    summary = {"dataset": "d", "images": 1, "max_dets": 5, "area_bins": [9, 99], "segm": values}
    write_coco_metrics(tmp_path, summary)
    assert json.loads((tmp_path / "coco_metrics.json").read_text())["segm"] == {
        "AP": 12.345,
        "AP-a": None,
        "APs": None,
    }
    head, _, row = (tmp_path / "coco_metrics.md").read_text().splitlines()[-3:]
    assert "AP-a" in head
    assert "12.35" in row or "12.34" in row
    assert "bbox" not in row


def test_masks_that_are_rle_already_are_judged_and_written_alike(register, tmp_path):
    register(truth_dict([5, 0]))
    written, metrics = [], []
    for name in ("bitmasks", "rle"):
        found = [instances(5), instances(0)]
        if name == "rle":
            for image in found:
                rles = [
                    mask_util.encode(np.asfortranarray(mask.numpy())) for mask in image.pred_masks
                ]
                rles = [{**rle, "counts": rle["counts"].decode()} for rle in rles]
                image.remove("pred_masks")
                image.pred_masks = RleMasks(rles, HEIGHT, WIDTH)
        evaluator = COCOInstanceEvaluator(
            dataset_name=NAME, output_dir=tmp_path / name, max_dets_per_image=100
        )
        metrics.append(run(evaluator, found))
        written.append((tmp_path / name / "coco_instances_results.json").read_text())
    assert written[0] == written[1]
    assert metrics[1]["segm"]["AP"] == pytest.approx(100)
    for task, values in metrics[0].items():
        assert metrics[1][task] == pytest.approx(values, abs=0, nan_ok=True)
