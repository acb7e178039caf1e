"""The records of the U-Net family in docs/benchmarks, their pages, and all reports."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up import cells, results_of_pixels, script

from maskrcnnpp.benchmark.figures import figures
from maskrcnnpp.benchmark.report import REPORT_FILE, report_text
from maskrcnnpp.benchmark.results import RESULTS_FILE, datasets, load
from maskrcnnpp.engine import build_config

unet, unet_depths = map(script, ("unet", "unet_depths"))
FOLDER = Path("docs/benchmarks/unet")
OF_DEPTHS = sorted(path.parent for path in FOLDER.glob("*/depths.json"))
OF_BENCHMARKS = sorted(path.parent for path in FOLDER.parent.rglob(RESULTS_FILE))


@pytest.mark.parametrize("folder", OF_DEPTHS, ids=lambda folder: folder.name)
def test_the_page_of_depths_is_what_the_record_gives(folder):
    record = load(folder / unet_depths.RECORD_FILE)
    assert (folder / unet_depths.PAGE_FILE).read_text() == unet_depths.page(record, folder)


@pytest.mark.parametrize("folder", OF_BENCHMARKS, ids=lambda folder: folder.name)
def test_the_report_is_what_the_record_gives(folder):
    results = load(folder / RESULTS_FILE)
    pictures = figures(results, datasets(results)[-1])
    words = {name: text for name, (text, _) in pictures.items()}
    assert (folder / REPORT_FILE).read_text() == report_text(results, folder, words)
    assert all((folder / name).is_file() for name in pictures)
    for trial in results["trials"]:
        assert Path(trial["config_file"]).is_file()


def test_the_pages_are_what_the_records_give():
    assert unet.PAGE.read_text() == unet.page()
    results = unet.RESULTS_PAGE.read_text()
    table = unet.four_table(unet.read("four"))
    assert unet.quote(results, unet.QUOTED, table) == results


def test_gains_stand_beside_those_of_the_papers():
    results = unet.read("four")
    row = cells(unet.gains_table(results), "Mask R-CNN++ - Mask R-CNN")
    assert row[-2:] == ["+3.45", "+0.013"]
    arms = unet.by_arm(results, "dsb2018_test")
    means = [
        np.mean(unet.of_seeds(arms[name], "dsb2018_test", "segm", "AP"))
        for name in ("maskrcnnpp_R_18_nested_fpn", "mask_rcnn_R_18_FPN")
    ]
    assert row[2].strip("*").startswith(f"{means[0] - means[1]:+.1f} (")


@pytest.fixture
def depths():
    """Depths of which embedding brings 2, 3 and 4 points, with little noise."""
    ious = {
        f"{kind} L{depth}": [60 + 5 * depth + gain * (depth + 1) + x for x in (-0.1, 0.0, 0.1)]
        for depth in (1, 2, 3)
        for kind, gain in (("isolated", 0), ("embedded", 1))
    }
    ious |= {f"{kind} L4": [90.0, 91.0, 92.0] for kind in ("isolated", "embedded")}
    results = results_of_pixels({**ious, "ensemble": [92.0, 93.0, 94.0]})

    def cost(depth):
        return {
            "parameters": {"total": 1e6 * depth},
            "flops": {"total": 1e9 * depth},
            "latency": {"total": [0.01 * depth] * 3},
            "peak_memory": 20.0 * depth,
            "image_size": [64, 64],
            "images": 3,
        }

    results["cost"] = {f"L{depth}": cost(depth) for depth in (1, 2, 3, 4)}
    return {**results, "measured_on": {"cores": 2}}


def test_a_depth_is_compared_with_its_training_alone(depths):
    row = cells(unet_depths.depth_table(depths, "em"), "L2")
    assert row[:4] == ["3", "70.0 (0.1)", "73.0 (0.1)", "+3.0 (0.0)"] and float(row[4]) < 0.01
    assert cells(unet_depths.depth_table(depths, "em"), "L4")[-2:] == ["", ""]
    assert cells(unet_depths.depth_table(depths, "em"), "mean of all heads")[2] == "93.0 (1.0)"
    assert cells(unet_depths.cost_table(depths), "L2")[:4] == ["20", "0.50", "2.00", "0.50"]
    picture = cv2.imdecode(np.frombuffer(unet_depths.picture(depths), np.uint8), -1)
    assert picture.shape[0] > 100
    assert "isolated_L3](../../" in unet_depths.page(depths, FOLDER / "em")


def test_isolated_trainings_differ_in_depth_alone():
    full = build_config(unet_depths.EMBEDDED)
    for depth, file in unet_depths.ISOLATED.items():
        cfg = build_config(file)
        assert cfg.MODEL.NESTED_UNET.DEPTH == depth
        weights = cfg.MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.WEIGHTS
        assert weights == full.MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.WEIGHTS[: depth - 1]
        assert cfg.SOLVER == full.SOLVER and cfg.INPUT == full.INPUT


def test_losses_are_compared_on_the_same_config():
    full = build_config(unet_depths.EMBEDDED)
    for loss in ("cross_entropy_dice", "unetpp_2018", "unetpp_2019"):
        cfg = build_config(f"configs/benchmark/unet/{loss}.yaml")
        deep = cfg.MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION
        assert deep.LOSS == loss
        cfg.defrost()
        deep.LOSS, cfg.OUTPUT_DIR = full.MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.LOSS, full.OUTPUT_DIR
        assert cfg == full


def test_rows_stand_beside_those_of_the_papers(tmp_path, monkeypatch):
    ious = zip(unet.SEMANTIC, (88.0, 88.5, 89.0, 89.5, 90.0, 90.5, 91.0))
    results = results_of_pixels({arm: [iou - 0.1, iou, iou + 0.1] for arm, iou in ious})
    (tmp_path / "em").mkdir()
    (tmp_path / "em" / RESULTS_FILE).write_text(json.dumps(results))
    monkeypatch.setattr(unet, "FOLDER", tmp_path)
    table = "\n".join(unet.semantic_part("em", "EM", "em"))
    assert cells(table, "UNet++, DS")[:4] == ["2.00", "3", "91.0 (0.1)", "+3.0 (0.0)"]
    assert cells(table, "UNet++, DS")[-2:] == ["89.33 (0.10)", "+1.03"]
    assert cells(table, "U-Net")[3:5] == ["", ""]
    assert unet.semantic_part("nuclei", "Nuclei", "nuclei") == []
