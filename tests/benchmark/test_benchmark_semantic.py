from types import SimpleNamespace

import pytest

from maskrcnnpp.benchmark import semantic
from maskrcnnpp.benchmark.runner import plan_trials, run_trials
from maskrcnnpp.errors import DataError

ARMS = ("unet", "unetpp")
METRICS = {"IoU": 80.0, "Dice": 88.9, "IoU_image": 79.0, "mIoU_thresholds": 85.0}


@pytest.fixture
def results():
    def trial(arm, seed, iou):
        return {
            "arm": arm,
            "config_file": f"configs/semantic/{arm}.yaml",
            "seed": seed,
            "iterations": 300,
            "metrics": {"em_test": {**METRICS, "IoU": iou}},
            "threads": 2,
            "trainings_at_a_time": 1,
            "fingerprint": {"code": "c0de", "config": arm, "data": "da7a"},
            "machine": {"cores": 2},
            "versions": {"torch": "2"},
        }

    return {
        "command": "maskrcnnpp benchmark",
        "reference": "unet",
        "datasets": ["em_test"],
        "parameters": {"unet": 7_759_521, "unetpp": 9_041_601},
        "trials": [
            *(trial("unet", seed, iou) for seed, iou in enumerate((80.0, 81.0, 82.0))),
            *(trial("unetpp", seed, iou) for seed, iou in enumerate((86.0, 85.0, None))),
        ],
        "failed": {"unet_wide, seed 0": "killed"},
    }


def test_the_table_has_means_deviations_and_p(results, tmp_path):
    results["trials"][-1]["metrics"]["em_test"]["IoU"] = 87.0
    lines = semantic.semantic_table(results, "em_test", tmp_path).splitlines()
    first, second = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    assert first[1:4] == ["7.76", "3", "81.0 (1.0)"] and first[-1] == ""
    assert second[1:4] == ["9.04", "3", "86.0 (1.0)"] and float(second[-1]) < 0.01
    assert second[0].startswith("[unetpp](") and second[0].endswith("configs/semantic/unetpp.yaml)")


def test_a_gain_is_over_the_same_seed(results, tmp_path):
    results["trials"][-1]["metrics"]["em_test"]["IoU"] = 87.0
    assert semantic.gains_of_seeds(results, "unetpp", "unet", "em_test") == [6.0, 4.0, 5.0]
    del results["trials"][0]
    assert semantic.gains_of_seeds(results, "unetpp", "unet", "em_test") == [4.0, 5.0]
    assert " +4.5 (0.7) |" in semantic.semantic_table(results, "em_test", tmp_path)
    assert semantic.gain_and_sd([-1.0, -2.0]) == "-1.5 (0.7)" and semantic.gain_and_sd([]) == ""


def test_nothing_to_judge_is_no_number(results, tmp_path):
    assert "n/a" in semantic.semantic_table(results, "em_test", tmp_path).splitlines()[3]


def test_what_is_written_is_read(results, tmp_path):
    assert semantic.load_semantic(tmp_path) is None
    semantic.write_semantic_report(tmp_path, results)
    assert semantic.load_semantic(tmp_path) == results
    text = (tmp_path / semantic.REPORT_FILE).read_text()
    assert "300 iterations" in text and "killed" in text and "Welch" in text
    (tmp_path / semantic.RESULTS_FILE).write_text("{}")
    with pytest.raises(DataError, match="not of maskrcnnpp benchmark"):
        semantic.load_semantic(tmp_path)


def test_arms_are_trained_and_compared_on_label_images(label_set, tmp_path):
    opts = {
        "MODEL.DEVICE": "cpu",
        "DATASETS.TRAIN": f"('{label_set}',)",
        "DATASETS.TEST": f"('{label_set}',)",
        "INPUT.CROP.SIZE": "[64, 64]",
        "MODEL.NESTED_UNET.ROW_CHANNELS": "[4, 8, 16, 32, 64]",
        "SOLVER.MAX_ITER": "2",
        "SOLVER.IMS_PER_BATCH": "2",
    }
    words = [word for pair in opts.items() for word in pair]
    configs = ["configs/quick/unet.yaml"]
    trials, failed = plan_trials(configs, [0], tmp_path / "out", words)
    assert not failed and semantic.all_semantic(trials) and not semantic.has_objects(trials)
    with pytest.raises(DataError, match="no training has finished"):
        semantic.collect_semantic(trials, command="")
    assert run_trials(trials, report=lambda line: None) == {}
    results = semantic.collect_semantic(trials, command="maskrcnnpp benchmark")
    assert 0 <= results["trials"][0]["metrics"][label_set]["IoU-square"] <= 100
    semantic.write_semantic_report(tmp_path / "out", results)
    assert "| [unet](" in (tmp_path / "out" / semantic.REPORT_FILE).read_text()


def test_the_reference_stays_the_first_arm_when_its_first_seed_fails(monkeypatch, tmp_path):
    def trial(arm, seed, has_finished=True):
        kept = {"arm": arm, "seed": seed, "config_file": f"configs/quick/{arm}.yaml"}
        cfg = SimpleNamespace(DATASETS=SimpleNamespace(TEST=("em_test",)))
        result = lambda: kept if has_finished else None  # noqa: E731
        return SimpleNamespace(arm=arm, cfg=cfg, output_dir=tmp_path, result=result)

    monkeypatch.setattr(semantic, "read_metrics", lambda folder, name: METRICS)
    monkeypatch.setattr(semantic, "_parameters", lambda trial: 1)
    trials = [trial(arm, seed, (arm, seed) != ("unet", 0)) for seed in (0, 1) for arm in ARMS]
    found = semantic.collect_semantic(trials, command="")
    assert found["reference"] == "unet"
    assert [row["arm"] for row in found["trials"]] == ["unet", "unetpp", "unetpp"]


def test_means_of_what_is_not_there():
    assert semantic.mean_and_sd([float("nan"), 50.0]) == "n/a"
    assert semantic.mean_and_sd([50.0]) == "50.0"
