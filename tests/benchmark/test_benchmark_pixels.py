import copy

import pytest
from made_up import cells, results_of_pixels

from maskrcnnpp import cli
from maskrcnnpp.benchmark import collect, report, tables
from maskrcnnpp.benchmark.results import RESULTS_FILE, iou_gains, load
from maskrcnnpp.benchmark.runner import plan_trials, run_trials
from maskrcnnpp.errors import DataError

CONFIG = "configs/quick/unet.yaml"
QUOTED = "a\n<!-- t -->\n<!-- /t -->\n"


@pytest.fixture
def pixels():
    return results_of_pixels({"unet": (80.0, 81.0, 82.0), "unetpp": (86.0, 85.0, 87.0)})


def test_the_table_has_means_deviations_and_p(pixels):
    pixels["failed"] = {"unet_wide": "killed"}
    table = tables.pixels_table(pixels, "em", "docs")
    first, second = (cells(table, arm) for arm in ("unet", "unetpp"))
    assert first[:3] == ["2.00", "3", "81.0 (1.0)"] and first[-2:] == ["", ""]
    assert second[2] == "86.0 (1.0)" and second[-2] == "+5.0 (1.0)" and float(second[-1]) < 0.01
    assert "[unetpp](../configs/unetpp.yaml)" in table and "failed: killed" in table
    assert tables.verdict(pixels) == (
        "On em, unetpp reaches an IoU of 86.0 and unet one of 81.0 (means of 3 and 3 seeds); the "
        "difference of +5.0 (1.0) holds up."
    )


def test_a_gain_is_over_the_same_seed(pixels):
    assert iou_gains(pixels, "unetpp", "unet", "em")[0] == [6.0, 4.0, 5.0]
    del pixels["trials"][0]
    assert iou_gains(pixels, "unetpp", "unet", "em")[0] == [4.0, 5.0]
    assert tables.gain_cells(pixels, "unetpp", "unet", "em")[0] == "+4.5 (0.7)"
    assert tables.gain_cells(pixels, "unet", "unetpp", "em")[0] == "-4.5 (0.7)"
    del pixels["trials"][:2]  # nothing takes the place of a reference that failed
    assert cells(tables.pixels_table(pixels, "em"), "unetpp")[-2:] == ["", ""]
    assert tables.verdict(pixels) == "There is no verdict: no training of unet finished."


def test_nothing_to_judge_is_no_number(pixels):
    pixels["trials"][-1]["metrics"]["em"]["pixels"]["IoU"] = None
    assert cells(tables.pixels_table(pixels, "em"), "unetpp")[-2:] == ["n/a", "n/a"]
    assert "does not hold up" in tables.verdict(pixels)
    assert tables.mean_and_sd([float("nan"), 50.0]) == "n/a"
    assert tables.mean_and_sd([50.0]) == "50.0"


def test_pixels_stand_beside_objects_in_one_report(pixels, results, tmp_path):
    before = report.report_text(results, tmp_path)
    assert "## Pixels" not in before
    for trial in results["trials"]:
        trial["metrics"] = copy.deepcopy(trial["metrics"])
        if trial["arm"] != "wide":
            for found in trial["metrics"].values():
                found["pixels"] = pixels["trials"][trial["seed"]]["metrics"]["em"]["pixels"]
    results["parameters"] = {"stock": 1e6, "ours": 2e6}
    text = report.report_text(results, tmp_path)
    begin, end = before.split("## What it costs")
    assert text.startswith(begin) and text.endswith(end)
    assert text.count("IoU, gain") == 2 and "wide" not in text.partition("## Pixels")[2]
    assert {"ap_by_seed.png", "iou_by_seed.png", "iou_and_latency.png"} <= set(
        report.figures(results, "nuclei_test")
    )


def test_the_report_of_pixels_alone(pixels, tmp_path, capsys):
    report.write_reports(tmp_path, pixels)
    assert load(tmp_path / RESULTS_FILE) == pixels
    text = (tmp_path / report.REPORT_FILE).read_text()
    assert "objects" not in text and "iou_by_seed.png" in text and "Welch" in text
    (tmp_path / "page.md").write_text(QUOTED)
    words = ["benchmark", "--report-only", "--output-dir", str(tmp_path)]
    cli.main([*words, "--quote", str(tmp_path / "page.md"), "t"])
    assert "an IoU of 86.0" in capsys.readouterr().out
    assert "IoU, gain" in (tmp_path / "page.md").read_text()


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
    trials, failed = plan_trials([CONFIG], [0, 1], tmp_path / "out", words)
    assert not failed and not collect.has_objects(trials[0].cfg)
    about = {"arms": ["unet"], "command": "", "sheet": tmp_path / "sheet.png"}
    with pytest.raises(DataError, match="no training has finished"):
        collect.collect(trials, **about)
    assert run_trials(trials[1:], report=lambda line: None) == {}
    elsewhere = [collect.External("elsewhere", ["results.json"])]
    results = collect.collect(trials, elsewhere, **about)
    (trial,) = results["trials"]
    assert trial["seed"] == 1 and trial["curves"]["iteration"]
    assert 0 <= trial["metrics"][label_set]["pixels"]["IoU-square"] <= 100
    assert results["parameters"]["unet"] > 1e4
    assert "has no objects" in results["failed"]["elsewhere, run 0"]
    folder = ["--output-dir", str(tmp_path / "out"), "--no-cost", "--seeds", "1"]
    cli.main(["benchmark", *folder, "--config-file", CONFIG, "--opts", *words])
    text = (tmp_path / "out" / report.REPORT_FILE).read_text()
    assert "## Pixels" in text and "| [unet](" in text
