import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice, compute_iou
from pycocotools import mask as coco_mask

from maskrcnnpp.evaluation.semantic_evaluation import SemanticEvaluator
from maskrcnnpp.evaluation.semantic_metrics import THRESHOLDS, count_pixels, semantic_metrics

SHAPE = (2, 6, 5)


def of_monai(metric, shown, real):
    """MONAI's metric of two masks."""
    as_batch = (torch.from_numpy(x.ravel())[None, None].float() for x in (shown, real))
    return metric(*as_batch, include_background=True).item()


@given(
    arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)),
    arrays(bool, SHAPE),
    arrays(bool, SHAPE[1:]),
)
def test_they_are_those_of_monai(probabilities, truth, is_counted):
    counts = count_pixels(probabilities, truth, is_counted)
    assert (counts.sum(axis=-1) == is_counted.sum()).all()
    found = semantic_metrics(counts[None], ["a", "b"])
    for name, values, wanted in zip("ab", probabilities, truth):
        shown, real = values[is_counted] > 0.5, wanted[is_counted]
        if not real.any():  # MONAI gives nothing, or 0
            expected = [0.0] * 2 if shown.any() else [math.nan] * 2
            assert [found[f"IoU-{name}"], found[f"Dice-{name}"]] == pytest.approx(
                expected, nan_ok=True
            )
            continue
        assert found[f"IoU-{name}"] == pytest.approx(100 * of_monai(compute_iou, shown, real))
        assert found[f"Dice-{name}"] == pytest.approx(100 * of_monai(compute_dice, shown, real))


def test_the_mean_over_thresholds_is_of_both_a_class_and_what_it_is_not():
    rng = np.random.default_rng(0)
    probabilities, truth = rng.random((1, 8, 8)), rng.random((1, 8, 8)) > 0.5
    counts = count_pixels(probabilities, truth, np.ones((8, 8), bool))
    expected = [
        of_monai(compute_iou, shown, real)
        for t in THRESHOLDS
        for shown, real in ((probabilities > t, truth), (probabilities <= t, ~truth))
    ]
    assert len(THRESHOLDS) == 10
    found = semantic_metrics(counts[None], ["a"])["mIoU_thresholds"]
    assert found == pytest.approx(100 * np.mean(expected))


def test_of_exclusive_classes_the_likeliest_counts():
    probabilities = np.array([0.4, 0.35, 0.25]).reshape(3, 1, 1)
    truth = np.array([True, False, False]).reshape(3, 1, 1)
    is_counted = np.ones((1, 1), bool)
    assert count_pixels(probabilities, truth, is_counted)[0, 0].tolist() == [0, 0, 1, 0]
    found = count_pixels(probabilities, truth, is_counted, exclusive=True)
    assert found[0, 0].tolist() == [1, 0, 0, 0]


def test_images_without_the_class_do_not_count_as_images():
    one, none = np.ones((1, 4, 4)), np.zeros((1, 4, 4))
    everything = np.ones((4, 4), bool)
    counts = [count_pixels(one, one > 0, everything), count_pixels(none, none > 0, everything)]
    found = semantic_metrics(np.stack(counts), ["a"])
    assert found["IoU"] == found["IoU_image"] == 100


@pytest.fixture
def data_set():
    name = "semantic_evaluation_test"
    square = [[2.0, 2.0, 10.0, 2.0, 10.0, 10.0, 2.0, 10.0]]
    record = {"file_name": "a.png", "image_id": 1, "height": 16, "width": 16}
    record["annotations"] = [{"segmentation": square, "category_id": 0}]
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).set(thing_classes=["cell"])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize("exclusive", [False, True])
def test_the_evaluator_judges_against_the_objects(data_set, tmp_path, exclusive):
    labels = [[0], [1]] if exclusive else [[1]]
    evaluator = SemanticEvaluator(
        data_set, class_labels=labels, exclusive=exclusive, output_dir=tmp_path
    )
    found = torch.zeros(1, 16, 16)
    found[:, 2:10, 2:6] = 0.9  # half of the square
    output = torch.cat([1 - found, found]) if exclusive else found
    evaluator.process([{"file_name": "a.png"}], [{"sem_seg": output}])
    metrics = evaluator.evaluate()["sem_seg"]
    assert metrics["IoU"] == metrics["IoU-cell"] == pytest.approx(50)
    assert metrics["Dice"] == pytest.approx(200 / 3)
    kept = json.loads((tmp_path / "semantic_metrics.json").read_text())
    assert kept["images"] == 1 and kept["sem_seg"]["IoU"] == pytest.approx(50)
    assert "| IoU " in (tmp_path / "semantic_metrics.md").read_text()
    predictions = json.loads((tmp_path / "semantic_predictions.json").read_text())
    assert predictions["classes"] == [{"name": "cell", "labels": [1]}]
    (mask,) = predictions["images"]["a.png"]
    assert np.array_equal(coco_mask.decode(mask), found[0].numpy() > 0.5)
