import copy
import re
from pathlib import Path

import pytest

from maskrcnnpp.benchmark import report
from maskrcnnpp.errors import DataError


def trial(arm, seed, ap):
    metrics = {"AP": ap, "AP50": ap + 20, "AP75": ap - 5}
    return {
        "arm": arm,
        "config_file": f"configs/{arm}.yaml",
        "seed": seed,
        "metrics": {"nuclei_val": {"segm": metrics, "bbox": metrics}},
        "seconds_per_iteration": 0.5 + seed,
        "threads": 2,
        "trainings_at_a_time": 1,
        "fingerprint": {"code": "c0de", "config": arm, "data": "da7a"},
        "machine": {"processor": "some processor"},
        "versions": {"torch": "2"},
    }


RESULTS = report.collect(
    [trial("stock", 0, 40.0), trial("ours", 0, 43.0), trial("stock", 1, 42.0)]
    + [trial("ours", 1, 44.0), trial("stock", 2, 44.0), trial("ours", 2, 48.0)],
    "python tools/benchmark.py",
)


def cells(table, arm):
    (line,) = [line for line in table.splitlines() if f"[{arm}]" in line or f"| {arm} " in line]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_seeds_mean_sd_and_paired_difference():
    table = report.ap_table(RESULTS, "nuclei_val")
    assert cells(table, "stock") == ["40.0", "42.0", "44.0", "42.0", "2.0", ""]
    assert cells(table, "ours") == ["43.0", "44.0", "48.0", "45.0", "2.6", "+3.0 ± 1.0"]


def test_a_missing_seed_is_an_empty_cell_and_not_compared():
    results = copy.deepcopy(RESULTS)
    del results["trials"][2]  # stock, seed 1
    table = report.ap_table(results, "nuclei_val")
    assert cells(table, "stock")[:3] == ["40.0", "", "44.0"]
    assert cells(table, "ours")[-1] == "+3.5 ± 0.7"


def test_one_seed_has_no_sd():
    results = report.collect(RESULTS["trials"][:2], "")
    assert cells(report.ap_table(results, "nuclei_val"), "ours")[-2:] == ["n/a", "+3.0 ± n/a"]


def test_every_row_names_its_config():
    assert "[ours](configs/ours.yaml)" in report.ap_table(RESULTS, "nuclei_val")
    elsewhere = report.ap_table(RESULTS, "nuclei_val", "docs/benchmarks")
    assert "[ours](../../configs/ours.yaml)" in elsewhere


def test_a_metric_that_could_not_be_computed_is_shown_as_such():
    results = copy.deepcopy(RESULTS)
    results["trials"][0]["metrics"]["nuclei_val"]["segm"]["AP"] = None
    assert cells(report.ap_table(results, "nuclei_val"), "stock")[0] == "nan"


def test_overview():
    row = cells(report.overview_table(RESULTS, "nuclei_val"), "ours")
    assert row == ["45.0", "65.0", "40.0", "45.0", "1.50"]


def test_reports_are_rebuilt_from_results_json(tmp_path):
    report.write_reports(tmp_path, RESULTS)
    first = (tmp_path / report.REPORT_FILE).read_text()
    report.write_reports(tmp_path, report.load(tmp_path / report.RESULTS_FILE))
    assert (tmp_path / report.REPORT_FILE).read_text() == first
    assert "some processor" in first and "python tools/benchmark.py" in first


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"trials": []}'])
def test_a_file_that_is_no_result_is_named(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match="results.json"):
        report.load(path)
    with pytest.raises(DataError, match="missing.json"):
        report.load(tmp_path / "missing.json")


def test_quote_replaces_what_stands_between_the_marks():
    page = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n"
    quoted = report.quote(page, "t", "new")
    assert quoted == "a\n<!-- t -->\nnew\n<!-- /t -->\nb\n"
    assert report.quote(quoted, "t", "new") == quoted
    with pytest.raises(DataError, match="<!-- u -->"):
        report.quote(page, "u", "new")


def test_pages_quote_the_committed_results():
    """Between <!-- NAME results --> marks stands what docs/benchmarks/NAME/results.json gives."""
    readme = Path("README.md").read_text()
    quoted = re.findall(r"<!-- (\w+) results -->", readme)
    committed = sorted(path.parent for path in Path("docs/benchmarks").glob("*/results.json"))
    assert sorted(quoted) == [folder.name for folder in committed]
    for folder in committed:
        results = report.load(folder / report.RESULTS_FILE)
        table = report.ap_table(results, next(iter(results["trials"][0]["metrics"])))
        assert report.quote(readme, f"{folder.name} results", table) == readme
        lines = report.report_lines(results, folder)
        assert (folder / report.REPORT_FILE).read_text() == "\n".join(lines)
