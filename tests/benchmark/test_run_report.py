"""tools/run_report.py end to end on two made-up images."""

from __future__ import annotations

import json
import shlex
import shutil
import sys

import cv2
import numpy as np
import pycocotools.mask as mask_util
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from maskrcnnpp import cli
from maskrcnnpp.benchmark.run_report import build_report
from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.engine.training_log import read_training_log, seconds_per_iteration
from maskrcnnpp.errors import DataError, UserError
from maskrcnnpp.evaluation import coco_average_precision, write_coco_metrics
from maskrcnnpp.evaluation.sheet import spread

NAME = "maskrcnnpp_test_run"


@pytest.fixture
def run_dir(tmp_path):
    """A finished run on a registered dataset of two images, the second without objects."""
    images = tmp_path / "images"
    images.mkdir()
    mask = np.zeros((48, 64), dtype=np.uint8, order="F")
    mask[10:30, 20:40] = 1
    for image_id in (1, 2):
        picture = np.full((48, 64, 3), 20, dtype=np.uint8)
        picture[mask > 0] = 200 if image_id == 1 else 20
        cv2.imwrite(str(images / f"{image_id}.png"), picture)
    rle = mask_util.encode(mask)
    rle["counts"] = rle["counts"].decode()
    common = {"image_id": 1, "category_id": 1, "bbox": [20, 10, 20, 20]}
    square = [20, 10, 40, 10, 40, 30, 20, 30]
    truth = {
        "images": [{"id": k, "height": 48, "width": 64, "file_name": f"{k}.png"} for k in (1, 2)],
        "categories": [{"id": 1, "name": "nucleus"}],
        "annotations": [{**common, "id": 1, "area": 400, "iscrowd": 0, "segmentation": [square]}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    register_coco_instances(NAME, {}, str(tmp_path / "truth.json"), str(images))

    run = tmp_path / "run"
    inference = run / "inference" / NAME
    inference.mkdir(parents=True)
    results = [
        {**common, "score": 0.9, "segmentation": rle},
        {**common, "image_id": 2, "score": 0.2, "segmentation": rle},
    ]
    (inference / "coco_instances_results.json").write_text(json.dumps(results))
    metrics = {task: coco_average_precision(truth, results, task, 300) for task in ("bbox", "segm")}
    summary = {"dataset": NAME, "images": 2, "max_dets": 300, "area_bins": [1024, 9216]}
    write_coco_metrics(inference, {**summary, **metrics})
    cfg = get_cfg()
    cfg.SEED = 17
    cfg.DATASETS.TRAIN = ("nuclei_a", "nuclei_b")
    (run / "config.yaml").write_text(cfg.dump())
    lines = [{"iteration": 19, "time": 0.5}, {"iteration": 39, "time": 0.25, "total_loss": 1.0}]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"iteration": 59, "ti'
    (run / "metrics.json").write_text(text)
    yield run
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_end_to_end(run_dir, tmp_path, capsys):
    output = tmp_path / "report"
    cli.main(
        [
            "report",
            "--run-dir",
            str(run_dir),
            "--dataset",
            NAME,
            "--output",
            str(output),
            "--images",
            "5",
        ]
    )
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == (
        "segm AP 100.00; with a score of 0.5 or more F1 1.000, PQ 1.000, count error 0.0 objects "
        "an image"
    )
    assert printed[1:] == [
        f"report: {output / 'report.md'}",
        f"images: {output / 'contact_sheet.png'}",
    ]
    report = (output / "report.md").read_text()
    for text in (
        "- seed: 17",
        "- training data: nuclei_a, nuclei_b",
        "- model: GeneralizedRCNN",
        "0.375 s an iteration",
        f"{NAME}: 2 images, up to 300 detections",
        "| segm   | 100.00 |",
        "](contact_sheet.png)",
        "2 of 2 images",
    ):
        assert text in report
    sheet = cv2.imread(str(output / "contact_sheet.png"))
    assert sheet.shape[1] == 3 * 400 + 4 * 8
    # below its threshold the second image's prediction is not drawn, so its cells are alike
    cells = [sheet[-300:-8, left : left + 400] for left in (8, 416, 824)]
    assert (cells[0] == cells[1]).all() and (cells[0] == cells[2]).all()


def test_objects_are_those_above_the_threshold(run_dir, tmp_path):
    # with the false object of the second image F1 is 2 / 3, one object too many in half the images
    shown = build_report(run_dir, NAME, tmp_path / "report", score_threshold=0.1)["shown"]
    assert shown["f1"] == pytest.approx(2 / 3) and shown["count_error"] == 0.5
    report = (tmp_path / "report" / "report.md").read_text()
    assert "| F1    |" in report and "0.667" in report and "score of 0.1 or more" in report


def of_config(run_dir, *names):
    """``run_dir`` with a config that names these data sets to test on."""
    cfg = get_cfg()
    cfg.DATASETS.TEST = names
    (run_dir / "config.yaml").write_text(cfg.dump())
    return run_dir


def test_a_data_set_that_is_named_by_its_file_in_the_config(run_dir, tmp_path, capsys):
    for name in (f"{tmp_path}/truth.json", f"{tmp_path}/truth.json:{tmp_path}/images"):
        shutil.copytree(run_dir / "inference" / NAME, run_dir / "inference" / folder_name(name))
        of_config(run_dir, name)
        cli.main(["report", "--run-dir", str(run_dir), "--output", str(tmp_path / "report")])
        assert capsys.readouterr().out.startswith("segm AP 100.00")


@pytest.mark.parametrize(
    ("names", "words"), [((), "names no data set"), (("a", "b"), "names several data sets: a, b")]
)
def test_a_config_that_does_not_tell_the_data_set(run_dir, tmp_path, names, words):
    with pytest.raises(UserError, match=f"{words}; name the one .* --dataset"):
        build_report(of_config(run_dir, *names), None, tmp_path / "report")


def test_the_command_to_evaluate_names_the_data_set(run_dir, tmp_path):
    name = f"{tmp_path}/my truth.json"
    with pytest.raises(DataError) as caught:
        build_report(of_config(run_dir, "another"), name, tmp_path / "report")
    words = shlex.split(str(caught.value).splitlines()[-1])
    assert words[words.index("DATASETS.TEST") + 1] == f"('{name}',)"


def test_a_semantic_training(label_set, tmp_path, capsys):
    run_dir, output = tmp_path / "run", tmp_path / "report"
    data = ["DATASETS.TRAIN", f"('{label_set}',)", "DATASETS.TEST", f"('{label_set}',)"]
    opts = ["MODEL.DEVICE", "cpu", "INPUT.CROP.SIZE", "[64, 64]", "SOLVER.MAX_ITER", "1"]
    words = ["--config-file", "configs/quick/unet.yaml", *data, *opts, "OUTPUT_DIR", str(run_dir)]
    cli.main(["train", *words])
    capsys.readouterr()
    cli.main(["report", "--run-dir", str(run_dir), "--output", str(output), "--images", "2"])
    assert "sem_seg IoU " in capsys.readouterr().out
    text = (output / "report.md").read_text()
    for words in (
        "| mIoU_thresholds",
        "| IoU-square",
        "2 of 4 images",
        "DeepSupervisionSemSegHead",
    ):
        assert words in text
    assert "mask head" not in text and "average precision" not in text
    assert cv2.imread(str(output / "contact_sheet.png")).shape[1] == 3 * 400 + 4 * 8
    folder = run_dir / "inference" / folder_name(label_set)
    (folder / "semantic_predictions.json").write_text("{}")
    with pytest.raises(DataError, match="semantic_predictions.json: not written by the evaluation"):
        build_report(run_dir, None, output)
    (folder / "semantic_metrics.json").unlink()
    with pytest.raises(DataError, match="semantic_metrics.json is missing(.|\n)*--eval-only"):
        build_report(run_dir, None, output)


def test_a_semantic_training_with_objects_has_both_tables(run_dir, tmp_path):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    (run_dir / "config.yaml").write_text(cfg.dump())
    found = {"dataset": NAME, "images": 2, "sem_seg": {"IoU": 81.0, "Dice": None}}
    (run_dir / "inference" / NAME / "semantic_metrics.json").write_text(json.dumps(found))
    build_report(run_dir, NAME, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| IoU      | 81.00     |" in text and "| segm   | 100.00 |" in text


def test_threshold_and_number_of_images(run_dir, tmp_path):
    build_report(run_dir, NAME, tmp_path / "one", images=1)
    build_report(run_dir, NAME, tmp_path / "all", images=2, score_threshold=0.1)
    one, both = (cv2.imread(str(tmp_path / d / "contact_sheet.png")) for d in ("one", "all"))
    assert both.shape[0] > 1.8 * one.shape[0]
    assert (both[-300:-8, 8:408] != both[-300:-8, 824:1224]).any()
    assert "score of 0.1 or more" in (tmp_path / "all" / "report.md").read_text()


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("config.yaml", "maskrcnnpp train --config-file"),
        (f"inference/{NAME}/coco_metrics.json", "maskrcnnpp train --eval-only"),
        (f"inference/{NAME}/coco_instances_results.json", "maskrcnnpp train --eval-only"),
    ],
)
def test_missing_files_say_what_makes_them(run_dir, tmp_path, missing, command):
    (run_dir / missing).unlink()
    with pytest.raises(DataError, match=command) as caught:
        build_report(run_dir, NAME, tmp_path / "report")
    assert str(run_dir / missing) in str(caught.value)
    assert not (tmp_path / "report").exists()


def test_missing_or_broken_image_is_named(run_dir, tmp_path):
    (tmp_path / "images" / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="2.png"):
        build_report(run_dir, NAME, tmp_path / "report")
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(DataError, match="1.png"):
        build_report(run_dir, NAME, tmp_path / "report")


def test_broken_files_are_named(run_dir, tmp_path):
    path = run_dir / "inference" / NAME / "coco_metrics.json"
    path.write_text("{")
    with pytest.raises(DataError, match="coco_metrics.json: no valid JSON"):
        build_report(run_dir, NAME, tmp_path / "report")
    (run_dir / "config.yaml").write_text("a: [")
    with pytest.raises(DataError, match="config.yaml: no valid YAML"):
        build_report(run_dir, NAME, tmp_path / "report")


def test_impossible_arguments(run_dir, tmp_path):
    for wrong in ({"images": 0}, {"score_threshold": 2.0}):
        with pytest.raises(UserError, match="images must be"):
            build_report(run_dir, NAME, tmp_path, **wrong)
    other = "maskrcnnpp_test_run_unknown"
    (run_dir / "inference" / NAME).rename(run_dir / "inference" / other)
    with pytest.raises(UserError, match="not a registered COCO dataset"):
        build_report(run_dir, other, tmp_path)
    assert other not in MetadataCatalog.list()


def test_user_errors_end_the_tool_with_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(
            ["report", "--run-dir", str(tmp_path), "--dataset", NAME, "--output", str(tmp_path)]
        )
    assert caught.value.code == 2
    assert "config.yaml is missing" in capsys.readouterr().err
    assert "run_report_under_test" not in sys.modules


def test_training_without_times(tmp_path):
    assert read_training_log(tmp_path) == []
    (tmp_path / "metrics.json").write_text('{"iteration": 3}\n')
    assert seconds_per_iteration(read_training_log(tmp_path)) is None


def test_of_a_training_that_went_on_only_what_counts_is_read(tmp_path):
    lines = [(19, 5), (39, 5), (59, 5), (39, 1), (59, 2)]
    text = "".join(json.dumps({"iteration": i, "time": t}) + "\n" for i, t in lines)
    (tmp_path / "metrics.json").write_text(text)
    assert [e["time"] for e in read_training_log(tmp_path)] == [5, 1, 2]


@pytest.mark.parametrize(
    ("name", "text"),
    [("coco_metrics.json", "{}"), ("coco_instances_results.json", '[{"image_id": 1}]')],
)
def test_files_of_another_kind_are_named(run_dir, tmp_path, name, text):
    (run_dir / "inference" / NAME / name).write_text(text)
    with pytest.raises(DataError, match=name):
        build_report(run_dir, NAME, tmp_path / "report")


def test_an_output_that_is_a_file_is_named(run_dir, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match="taken"):
        build_report(run_dir, NAME, tmp_path / "taken")


def test_spread():
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert spread(list(range(3)), 8) == [0, 1, 2]
    assert len(set(spread(list(range(11)), 8))) == 8
