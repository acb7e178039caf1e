"""Trials as tools/benchmark.py runs them, on a few tiny images."""

import json
import os
import re
import subprocess
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

import maskrcnnpp.benchmark.collect
from maskrcnnpp.benchmark.collect import External, Row, _widest, collect
from maskrcnnpp.benchmark.cost import PARTS, STAGES, Arm, measure_arms
from maskrcnnpp.benchmark.report import write_reports
from maskrcnnpp.benchmark.runner import _BEGIN, _progress, _reason, plan_trials, run_trials
from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.synthetic import synthetic_samples
from maskrcnnpp.data import catalog
from maskrcnnpp.errors import ConfigError, DataError, OutputError

STOCK = "configs/quick/mask_rcnn_R_18_FPN.yaml"
OPTS = """DATASETS.TRAIN ('synthetic_nuclei_train',)
DATASETS.TEST ('synthetic_nuclei_val','synthetic_nuclei_test') MODEL.DEVICE cpu
SOLVER.MAX_ITER 2 SOLVER.IMS_PER_BATCH 1 INPUT.CROP.SIZE [64,64]
TEST.DETECTIONS_PER_IMAGE 10""".split()
NAMES = [f"synthetic_nuclei_{split}" for split in catalog.SPLITS]


def forget_synthetic_nuclei():
    for name in NAMES:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.fixture(autouse=True)
def synthetic_nuclei(tmp_path, monkeypatch):
    """Four 64x64 images, for this process and those it starts."""
    samples = list(synthetic_samples(4, height=64, width=64, count=(3, 6), seed=0))
    names = [sample.name for sample in samples]
    with CocoDatasetWriter(tmp_path / "synthetic_nuclei", info={}) as writer:
        for sample in samples:
            writer.add(sample)
        writer.commit({"train": names[:2], "val": names[2:3], "test": names[3:]})
    forget_synthetic_nuclei()
    with monkeypatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tmp_path))
        catalog.register_datasets()
        yield
    forget_synthetic_nuclei()


def test_what_finishes_is_kept_and_what_dies_is_named(tmp_path):
    dying = tmp_path / "dying.yaml"
    # passes every check of the config, and fails when the model is built
    text = (
        f"_BASE_: {json.dumps(os.path.abspath(STOCK))}\nMODEL:\n  ROI_HEADS:\n    NAME: Nowhere\n"
    )
    dying.write_text(text)
    said = []
    trials, problems = plan_trials([STOCK, str(dying)], [3], tmp_path / "out", OPTS)
    assert problems == {}

    failed = run_trials(trials, jobs=2, report=said.append)

    assert list(failed) == ["dying, seed 3"]
    assert re.search("failed: .*Nowhere.*output.log", failed["dying, seed 3"])
    result = trials[0].result()
    assert result["arm"] == "mask_rcnn_R_18_FPN" and result["seed"] == 3
    assert result["iterations"] == 2 and "seconds_per_iteration" in result
    assert trials[1].result() is None
    assert sum("finished" in line for line in said) == 1

    # a second time there is nothing to do
    again, _ = plan_trials([STOCK], [3], tmp_path / "out", OPTS)
    assert run_trials(again, report=said.append) == {}
    assert again[0].result() == result

    # and results of other settings are not taken for these
    other, _ = plan_trials([STOCK], [3], tmp_path / "out", [*OPTS, "SOLVER.BASE_LR", "0.5"])
    with pytest.raises(DataError, match="other config"):
        run_trials(other)

    check_collected(tmp_path, trials, failed)


def test_a_training_that_diverges_says_so(tmp_path):
    trials, _ = plan_trials([STOCK], [0], tmp_path, [*OPTS, "SOLVER.BASE_LR", "1e30"])
    (problem,) = run_trials(trials).values()
    assert "the loss is not finite or exploded" in problem and "(boxes nan)" in problem


NAN = "FloatingPointError: Loss became infinite or NaN at iteration=3!"
LONG = f"torch.OutOfMemoryError: {200 * 'x'}"


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (1, f"iter: 19  total_loss: 3\n{NAN}\nloss_dict = {{}}\n", f": {NAN}"),
        (2, "error: no such file\n", ": error: no such file"),
        (1, "iter: 19  total_loss: 3\n", " with exit status 1"),
        (-9, "ValueError: caught\niter: 19  total_loss: 3\n", ": killed by SIGKILL"),
        (1, "", " with exit status 1"),
        (1, LONG, f": {LONG[:160]} ..."),
    ],
)
def test_why_a_training_ended(tmp_path, status, said, reason):
    log = tmp_path / "output.log"
    log.write_text(f"{_BEGIN}\nKeyError: of a time before\n{_BEGIN}\n{said}")
    assert _reason(status, log) == reason


def test_progress_names_arm_seed_iteration_and_time(tmp_path):
    trials, _ = plan_trials([STOCK], [0, 1, 2], tmp_path, OPTS)
    trials[0].output_dir.mkdir(parents=True)
    (trials[0].output_dir / "metrics.json").write_text('{"iteration": 0, "time": 120}')
    assert _progress(trials[:1], trials[1:], jobs=1) == (
        "mask_rcnn_R_18_FPN, seed 0: iteration 1 of 2, 2 min left; 2 more to run, about 10 min of "
        "training in all"
    )
    # one that has logged nothing yet counts as a whole one
    assert "about 5 min" in _progress(trials[:2], trials[2:], jobs=2)
    assert _progress(trials[1:2], [], jobs=1) == (
        "mask_rcnn_R_18_FPN, seed 1: iteration 0 of 2; 0 more to run"
    )


def check_collected(tmp_path, trials, failed):
    """The one finished training, scored beside predictions from elsewhere."""
    predictions = trials[0].output_dir / "inference/{dataset}/coco_instances_results.json"
    (tmp_path / "broken.json").write_text("{")
    results = collect(
        trials,
        External.parse([f"elsewhere={predictions}", f"broken={tmp_path}/broken.json"]),
        arms=["mask_rcnn_R_18_FPN", "dying"],
        command="maskrcnnpp benchmark",
        sheet=tmp_path / "sheet.png",
        failed=failed,
        replicates=20,
    )
    ours, elsewhere = results["trials"]
    assert elsewhere["arm"] == "elsewhere" and ours["metrics"] == elsewhere["metrics"]
    assert list(ours["metrics"]) == ["synthetic_nuclei_val", "synthetic_nuclei_test"]
    assert (results["reference"], results["judged"]) == ("mask_rcnn_R_18_FPN", "dying")
    assert results["widest"] == []
    assert "cannot be read" in results["failed"]["broken, run 0"]
    difference = results["differences"]["synthetic_nuclei_test"]["elsewhere"]
    difference = difference["mask_rcnn_R_18_FPN"]["AP"]
    assert difference["mean"] == 0 or difference["mean"] is None
    tuned = {m["score_threshold"] for m in ours["metrics"].values()}
    assert len(tuned) == 1
    # one arm was trained, so its cost is measured alone
    arm = Arm(trials[0].arm, str(trials[0].kept_config), str(trials[0].weights))
    results["cost"] = measure_arms([arm], images=1)
    (found,) = results["cost"].values()
    parts = sum(found["parameters"].get(part, 0) for part in PARTS)
    assert parts == found["parameters"]["total"] > 1e7
    assert sum(found["flops"][part] for part in PARTS) == pytest.approx(found["flops"]["total"])
    stages = sum(found["latency"][s][0] for s in STAGES if s in found["latency"])
    assert stages == pytest.approx(found["latency"]["total"][0], rel=0.01)
    assert found["peak_memory"] > 100 and found["training"][0] > 0
    write_reports(tmp_path / "report", results)
    assert "dying, seed 3" in (tmp_path / "report" / "report.md").read_text()


def test_an_image_that_cannot_be_drawn_costs_no_report(tmp_path, monkeypatch):
    def cannot_read(*_):
        raise DataError("a.png: cannot be read")

    monkeypatch.setattr(maskrcnnpp.benchmark.collect, "write_largest_differences", cannot_read)
    rows = [Row(arm, 0, {}, {"val": None}) for arm in ("a", "b")]
    found = _widest(rows, ("a", "b"), "val", {}, tmp_path / "sheet.png")
    assert found == {"widest": [], "widest_not_drawn": "a.png: cannot be read"}
    assert _widest(rows[:1], ("a", "b"), "val", {}, tmp_path / "sheet.png") == {"widest": []}


def test_an_arm_that_cannot_be_planned_does_not_stop_the_others(tmp_path):
    trials, problems = plan_trials([STOCK, "nowhere.yaml"], [0], tmp_path, OPTS)
    assert [trial.arm for trial in trials] == ["mask_rcnn_R_18_FPN"]
    assert "nowhere.yaml" in problems["nowhere"]


def test_nothing_finished_says_what_went_wrong(tmp_path):
    trials, _ = plan_trials([STOCK], [0], tmp_path, OPTS)
    failed = {"a": "failed with exit status 1, see a.log"}
    with pytest.raises(DataError, match="see a.log"):
        collect(trials, arms=["a"], command="", sheet=tmp_path / "sheet.png", failed=failed)


def test_externals_are_checked_before_anything_is_trained(tmp_path):
    with pytest.raises(ConfigError, match="an arm has that name"):
        External("a", ["1.json"]).check(["a"], ["val", "test"])
    (tmp_path / "val.json").write_text("[]")
    with pytest.raises(DataError, match="--external b: there is no file .*test.json"):
        External("b", [f"{tmp_path}/{{dataset}}.json"]).check(["a"], ["val", "test"])
    External("b", [f"{tmp_path}/val.json"]).check(["a"], ["val", "test"])


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("FORMAT: BGR", "FORMAT"),
        ("CHANNELS: [0, 0, 0]", "CHANNELS"),
        ("PERCENTILES: [1.0, 99.8]", "PERCENTILES"),
        ("AUGMENT: {INVERT: 0.5}", "AUGMENT.INVERT"),
    ],
)
def test_arms_that_read_or_augment_differently_are_not_compared(tmp_path, words, key):
    other = tmp_path / "other.yaml"
    other.write_text(f"_BASE_: {json.dumps(os.path.abspath(STOCK))}\nINPUT:\n  {words}\n")
    with pytest.raises(ConfigError, match=f"INPUT.{key} differs"):
        plan_trials([STOCK, str(other)], [0], tmp_path, OPTS)


def test_a_test_set_without_annotations(tmp_path):
    path = MetadataCatalog.get("synthetic_nuclei_test").json_file
    with open(path) as handle:
        truth = json.load(handle)
    truth["annotations"] = []
    with open(path, "w") as handle:
        json.dump(truth, handle)
    with pytest.raises(ConfigError, match="synthetic_nuclei_test, which has no annotations"):
        plan_trials([STOCK], [0], tmp_path, OPTS)


@pytest.mark.parametrize("words", [["StarDist"], ["=file.json"], ["StarDist="]])
def test_external_needs_a_name_and_a_file(words):
    with pytest.raises(ConfigError, match="NAME=results.json"):
        External.parse(words)


def test_an_external_name_given_twice_has_two_runs():
    assert External.parse(["a=1.json", "b=2.json", "a=3.json"]) == [
        External("a", ["1.json", "3.json"]),
        External("b", ["2.json"]),
    ]


@pytest.mark.parametrize(
    ("arms", "seeds", "opts", "word"),
    [
        ([STOCK], [0, 0], [], "seeds"),
        ([STOCK], [-1], [], "seeds"),
        ([STOCK], [0], ["SEED", "5"], "--seeds"),
        ([STOCK], [0], ["OUTPUT_DIR", "x"], "--output-dir"),
        ([STOCK, STOCK], [0], [], "same"),
        (["no.yaml"], [0], [], "no.yaml"),
        ([STOCK], [0], ["DATASETS.TEST", "()"], "DATASETS.TEST"),
        ([STOCK], [0], ["MODEL.MASK_ON", "False"], "MASK_ON"),
        ([STOCK], [0], ["MODEL.WEIGHTS", "nowhere.pth"], "nowhere.pth"),
        ([STOCK], [0], ["INPUT.PERCENTILES", "[1.0]"], "INPUT.PERCENTILES"),
        ([STOCK], [0], ["TEST.AREA_BINS", "[1.0]"], "TEST.AREA_BINS"),
        ([STOCK], [0], ["MODEL.DEVICE", "abacus"], "MODEL.DEVICE"),
    ],
)
def test_a_plan_that_cannot_work(tmp_path, arms, seeds, opts, word):
    with pytest.raises(ConfigError, match=word):
        plan_trials(arms, seeds, tmp_path, [*OPTS, *opts])


def test_both_kinds_are_compared_by_their_objects_and_one_by_its_pixels(tmp_path):
    trials, failed = plan_trials(["configs/quick/unet.yaml", STOCK], [0], tmp_path / "out", OPTS)
    assert not failed
    assert run_trials(trials, report=print) == {}
    results = collect(
        trials,
        arms=[trial.arm for trial in trials],
        command="maskrcnnpp benchmark",
        sheet=tmp_path / "sheet.png",
        replicates=20,
    )
    arms = [Arm(t.arm, str(t.kept_config), str(t.weights)) for t in trials]
    results["cost"] = measure_arms(arms, images=1)
    found, of_stock = (t["metrics"]["synthetic_nuclei_test"] for t in results["trials"])
    shown = found["shown"]
    assert 0 <= found["pixels"]["Dice"] <= 100 and "pixels" not in of_stock
    assert 0 <= shown["dice"] <= 1 and 0 <= shown["dsb_score"] <= 1
    assert results["cost"]["unet"]["parameters"].keys() >= {"segmentation head", "total"}
    write_reports(tmp_path / "report", results)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "segmentation head" in text and "## Pixels" in text


KILLED = """
import os, signal, subprocess, sys
from maskrcnnpp.benchmark.runner import _end_with_benchmark
command = [sys.executable, "-c", "print('training', flush=True); import sys; sys.stdin.read()"]
subprocess.Popen(command, preexec_fn=_end_with_benchmark)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of that")
def test_a_killed_benchmark_takes_its_trainings_along():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    benchmark = subprocess.Popen([sys.executable, "-c", KILLED], text=True, **pipes)
    assert benchmark.stdout.readline() == "training\n"
    benchmark.kill()
    # its output is closed when the training has ended too, whose input stays open
    assert benchmark.stdout.read() == ""
    benchmark.stdin.close()
    benchmark.wait()


def test_a_folder_of_a_trial_that_is_a_file_is_named(tmp_path):
    (tmp_path / "mask_rcnn_R_18_FPN").write_text("")
    trials, _ = plan_trials([STOCK], [0], tmp_path, OPTS)
    with pytest.raises(OutputError, match="seed0/trial_config.yaml cannot be written: Not a dir"):
        run_trials(trials)
