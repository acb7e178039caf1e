"""The records of the U-Net family in docs/benchmarks, and the pages drawn from them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up import script

from maskrcnnpp.benchmark.semantic import REPORT_FILE, RESULTS_FILE, load_semantic, semantic_page
from maskrcnnpp.engine import build_config

unet, unet_depths = map(script, ("unet", "unet_depths"))
FOLDER = Path("docs/benchmarks/unet")
OF_DEPTHS = sorted(path.parent for path in FOLDER.glob("*/depths.json"))
OF_PIXELS = sorted(path.parent for path in FOLDER.glob("*/semantic_results.json"))


@pytest.mark.parametrize("folder", OF_DEPTHS, ids=lambda folder: folder.name)
def test_the_page_of_depths_is_what_the_record_gives(folder):
    record = json.loads((folder / unet_depths.RECORD_FILE).read_text())
    assert (folder / unet_depths.PAGE_FILE).read_text() == unet_depths.page(record, folder)


@pytest.mark.parametrize("folder", OF_PIXELS, ids=lambda folder: folder.name)
def test_the_report_of_pixels_is_what_the_record_gives(folder):
    assert (folder / REPORT_FILE).read_text() == semantic_page(load_semantic(folder), folder)
    for trial in load_semantic(folder)["trials"]:
        assert Path(trial["config_file"]).is_file()


def test_the_pages_are_what_the_records_give():
    assert unet.PAGE.read_text() == unet.page()
    results = unet.RESULTS_PAGE.read_text()
    table = unet.four_table(unet.load(FOLDER / "four" / unet.RESULTS_FILE))
    assert unet.quote(results, unet.QUOTED, table) == results


def test_gains_stand_beside_those_of_the_papers():
    results = unet.load(FOLDER / "four" / unet.RESULTS_FILE)
    row = cells(unet.gains_table(results), "| Mask R-CNN++ - Mask R-CNN")
    assert row[-2:] == ["+3.45", "+0.013"]
    arms = unet.by_arm(results, "dsb2018_test")
    means = [
        np.mean(unet.of_seeds(arms[name], "dsb2018_test", "segm", "AP"))
        for name in ("maskrcnnpp_R_18_nested_fpn", "mask_rcnn_R_18_FPN")
    ]
    assert row[3].strip("*").startswith(f"{means[0] - means[1]:+.1f} (")


def made_up(arm, iou, seed):
    return {
        "arm": arm,
        "seed": seed,
        "config_file": f"configs/quick/{arm}.yaml",
        "iterations": 500,
        "threads": 1,
        "trainings_at_a_time": 2,
        "fingerprint": {"code": "c0de", "config": arm, "data": "da7a"},
        "machine": {"cores": 2},
        "versions": {"torch": "2"},
        "metrics": {"em": {"IoU": iou, "Dice": iou, "IoU_image": iou, "mIoU_thresholds": iou}},
    }


@pytest.fixture
def depths():
    """Depths of which embedding brings 2, 3 and 4 points, with little noise."""
    trials = [
        made_up(f"{kind} L{depth}", 60 + 5 * depth + gain * (depth + 1) + noise, seed)
        for depth in (1, 2, 3)
        for kind, gain in (("isolated", 0), ("embedded", 1))
        for seed, noise in enumerate((-0.1, 0.0, 0.1))
    ]
    trials += [
        made_up(f"{kind} L4", 90.0 + seed, seed)
        for kind in ("isolated", "embedded")
        for seed in (0, 1, 2)
    ]
    trials += [made_up("ensemble", 92.0 + seed, seed) for seed in (0, 1, 2)]

    def cost(depth):
        return {
            "parameters": {"total": 1e6 * depth},
            "flops": {"total": 1e9 * depth},
            "latency": {"total": [0.01 * depth] * 3},
            "peak_memory": 20.0 * depth,
            "image_size": [64, 64],
            "images": 3,
        }

    return {
        "command": "python docs/benchmarks/unet_depths.py",
        "datasets": ["em"],
        "trials": trials,
        "cost": {f"L{depth}": cost(depth) for depth in (1, 2, 3, 4)},
        "measured_on": {"cores": 2},
    }


def cells(table, beginning):
    (line,) = [line for line in table.splitlines() if line.startswith(beginning)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_depth_is_compared_with_its_training_alone(depths):
    row = cells(unet_depths.depth_table(depths, "em"), "| L2")
    assert row[1:5] == ["3", "70.0 (0.1)", "73.0 (0.1)", "+3.0 (0.0)"] and float(row[5]) < 0.01
    assert cells(unet_depths.depth_table(depths, "em"), "| L4")[-2:] == ["", ""]
    assert cells(unet_depths.depth_table(depths, "em"), "| mean of all")[3] == "93.0 (1.0)"
    assert cells(unet_depths.cost_table(depths), "| L2")[1:5] == ["20", "0.50", "2.00", "0.50"]
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
    ious = dict(zip(unet.SEMANTIC, (88.0, 88.5, 89.0, 89.5, 90.0, 90.5, 91.0)))
    results = {
        "command": "maskrcnnpp benchmark",
        "reference": "unet",
        "datasets": ["em"],
        "parameters": dict.fromkeys(ious, 2e6),
        "trials": [
            made_up(arm, iou + noise, seed)
            for arm, iou in ious.items()
            for seed, noise in enumerate((-0.1, 0.0, 0.1))
        ],
        "failed": {},
    }
    (tmp_path / "em").mkdir()
    (tmp_path / "em" / RESULTS_FILE).write_text(json.dumps(results))
    monkeypatch.setattr(unet, "FOLDER", tmp_path)
    table = "\n".join(unet.semantic_part("em", "EM", "em"))
    assert cells(table, "| UNet++, DS")[1:5] == ["2.00", "3", "91.0 (0.1)", "+3.0 (0.0)"]
    assert cells(table, "| UNet++, DS")[-2:] == ["89.33 (0.10)", "+1.03"]
    assert cells(table, "| U-Net  ")[4:6] == ["", ""]
    assert unet.semantic_part("nuclei", "Nuclei", "nuclei") == []
