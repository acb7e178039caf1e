"""The Python of docs/how-to/connect.md, run with the libraries that are installed."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.synthetic import synthetic_samples

PAGE = Path(__file__).parents[2] / "docs/how-to/connect.md"


def blocks(title):
    """Python of a section of the page."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    return re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)


@pytest.fixture
def run(tiny_cfg, tmp_path, monkeypatch):
    """``run(code)`` in a folder with the files of the page; gives the variables of the code."""
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    tiny_cfg.DATASETS.TRAIN = tiny_cfg.DATASETS.TEST = ("my_val",)
    torch.manual_seed(0)
    weights = {"model": build_model(tiny_cfg).state_dict()}
    samples = list(synthetic_samples(2, height=64, width=64, count=(3, 6), seed=0, prefix="x"))
    with CocoDatasetWriter(tmp_path / "datasets/my_set", info={}) as writer:
        for sample in samples:
            writer.add(sample)
        writer.commit({"val": [sample.name for sample in samples]})
    for folder in ("output/my_set", "my_images"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "output/my_set/config.yaml").write_text(tiny_cfg.dump())
    torch.save(weights, tmp_path / "output/my_set/model_final.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "my_images/a.png"), pixels)
    monkeypatch.chdir(tmp_path)
    found = {}

    def execute(code):
        exec(code, found)
        return found

    yield execute
    for catalog in (DatasetCatalog, MetadataCatalog):
        for name in {"my_val", "my_set"} & set(catalog.list()):
            catalog.remove(name)


def test_detectron2(run, tmp_path):
    predict, evaluate = blocks("Detectron2")
    assert len(run(predict)["found"].pred_masks)
    assert cv2.imread(str(tmp_path / "a.drawn.png")).std() > 5
    assert run(evaluate)["results"]["segm"]["AP"] >= 0


def test_supervision(run, tiny_cfg):
    pytest.importorskip("supervision")
    (code,) = blocks("supervision")
    files = '"output/my_set/config.yaml", "output/my_set/model_final.pth", score_threshold=0'
    found = run(code.replace('"nuclei"', files))
    objects = found["predictor"](found["image"])
    assert len(found["detections"]) == len(objects) > 0
    assert found["detections"].area.tolist() == [entry.area for entry in objects]
    assert (found["drawn"] != found["image"]).any()


def test_sahi(run, tmp_path):
    pytest.importorskip("sahi")
    (code,) = blocks("SAHI")
    found = run(code.replace("confidence_threshold=0.5", "confidence_threshold=0"))["found"]
    assert found.object_prediction_list and found.object_prediction_list[0].mask
    assert list((tmp_path / "sliced").iterdir())


def test_fiftyone(run, tmp_path):
    pytest.importorskip("fiftyone")
    (code,) = blocks("FiftyOne")
    result = {"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [9, 9, 20, 20]}
    result["segmentation"] = [[9, 9, 29, 9, 29, 29, 9, 29]]
    (tmp_path / "predicted").mkdir()
    (tmp_path / "predicted/coco_instances_results.json").write_text(f"[{result}]".replace("'", '"'))
    dataset = run(code[: code.index("session")])["dataset"]
    assert dataset.count("found.detections") == 1
