import json
from pathlib import Path

import cv2
import pytest
from detectron2.engine import default_argument_parser
from semantic_config import ROWS, WEIGHTS, grid, head

from maskrcnnpp.benchmark.depth_table import measure_depths
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.engine.main import run
from maskrcnnpp.engine.prune import prune_checkpoint
from maskrcnnpp.engine.setup import checked_config
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.evaluation.semantic_evaluation import PREDICTIONS_FILE

CONFIG = "configs/quick/unetpp_ds.yaml"


@pytest.fixture
def args(tiny_opts):
    """``args(*opts)``: of a short training of UNet++ on the tiny data set."""

    def make(*opts, eval_only=False):
        words = [*tiny_opts, grid("ROW_CHANNELS"), ROWS, grid("NORM"), "", "SOLVER.MAX_ITER", 12]
        words += ["SOLVER.BASE_LR", 0.01, "SOLVER.WARMUP_ITERS", 0, *opts]
        parsed = ["--config-file", CONFIG, *(["--eval-only"] if eval_only else [])]
        return default_argument_parser().parse_args([*parsed, *map(str, words)])

    return make


def test_it_trains_on_objects_and_is_judged_by_pixels_and_objects(args, tiny_nuclei, tmp_path):
    results = run(args())
    assert results["sem_seg"]["IoU"] > 20
    assert {"bbox", "segm", "sem_seg"} <= set(results)
    folder = tmp_path / "output" / "inference" / tiny_nuclei
    assert {p.name for p in folder.iterdir()} >= {
        "semantic_metrics.json",
        "semantic_metrics.md",
        "coco_instances_results.json",
    }
    log = (tmp_path / "output" / "metrics.json").read_text().splitlines()
    assert any("loss_sem_seg_d1" in json.loads(line) for line in log)
    weights = str(tmp_path / "output" / "model_final.pth")
    again = run(args("MODEL.WEIGHTS", weights, eval_only=True))
    assert again["sem_seg"] == pytest.approx(results["sem_seg"])


def test_several_classes_exclude_each_other_with_softmax(args):
    results = run(args(head("ACTIVATION"), "softmax", head("NUM_CLASSES"), 2))
    assert "IoU-nucleus" in results["sem_seg"] and "IoU-0" not in results["sem_seg"]


def test_a_cut_is_evaluated(args, tmp_path):
    run(args())
    cfg = build_config(str(tmp_path / "output" / "config.yaml"))
    weights = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    config_file = prune_checkpoint(cfg, weights, 2, tmp_path / "cut")
    words = ["--config-file", str(config_file), "--eval-only"]
    assert "IoU" in run(default_argument_parser().parse_args(words))["sem_seg"]


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        ((head("NUM_CLASSES"), 3), "NUM_CLASSES is 3"),
        ((head("NUM_CLASSES"), 1, head("ACTIVATION"), "softmax"), "NUM_CLASSES is 1"),
        ((head("REGIONS"), [1]), "REGIONS is"),
        ((head("NAME"), "SemSegFPNHead"), "a data set of objects"),
    ],
)
def test_what_does_not_fit_is_told_before_the_training(args, opts, words):
    with pytest.raises(ConfigError, match=words):
        checked_config(args(*opts))


def test_without_deep_supervision_there_is_one_loss(args, tmp_path):
    run(args(WEIGHTS, []))
    log = (tmp_path / "output" / "metrics.json").read_text()
    assert "loss_sem_seg" not in log or "loss_sem_seg_d1" not in log


def test_each_depth_is_measured(args, tiny_nuclei, tmp_path):
    run(args())
    cfg = build_config(str(tmp_path / "output" / "config.yaml"))
    weights = str(tmp_path / "output" / "model_final.pth")
    found = measure_depths(cfg, weights, tmp_path / "depths", images=2)
    assert found["metric"] == "IoU" and found["dataset"] == tiny_nuclei
    rows = found["depths"]
    assert [row["depth"] for row in rows] == [1, 2, 3, 4]
    assert all(0 <= row["IoU"] <= 100 and row["latency"][0] > 0 for row in rows)
    for key in ("parameters", "flops"):
        assert rows[0][key] < rows[1][key] < rows[2][key] < rows[3][key]


def test_predictions_are_drawn_for_label_images(args, label_set, tmp_path):
    data = ["DATASETS.TRAIN", f"('{label_set}',)", "DATASETS.TEST", f"('{label_set}',)"]
    run(args(*data, "TEST.PICTURES", 2, "INPUT.CROP.SIZE", "[64, 64]"))
    sheet = cv2.imread(str(tmp_path / "output" / "predictions.png"))
    assert sheet.shape[0] > 2 * 64 and sheet.std() > 0
    folder = tmp_path / "output" / "inference" / folder_name(label_set)
    predictions = json.loads((folder / PREDICTIONS_FILE).read_text())
    assert predictions["classes"] == [{"name": "square", "labels": [1]}]
    assert len(predictions["images"]) == 4
