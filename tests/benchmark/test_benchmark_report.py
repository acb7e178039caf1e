import copy
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pytest
from made_up import cells
from matplotlib.text import Text

from maskrcnnpp.benchmark import report, tables
from maskrcnnpp.benchmark.figures import figures
from maskrcnnpp.benchmark.results import RESULTS_FILE, datasets, load
from maskrcnnpp.errors import DataError
from maskrcnnpp.plots import new_figure, plain


def test_seeds_mean_sd_and_difference(results):
    table = tables.ap_table(results, "nuclei_test")
    assert cells(table, "stock") == ["40.0", "42.0", "44.0", "42.0", "2.0", ""]
    assert cells(table, "ours") == ["43.0", "44.0", "48.0", "45.0", "2.6", "+3.0 (+1.8 to +4.1)"]
    # differences are taken on the last data set only
    assert cells(tables.ap_table(results, "nuclei_val"), "ours")[-1] == ""


def test_a_missing_seed_is_an_empty_cell(results):
    del results["trials"][1]  # stock, seed 1
    assert cells(tables.ap_table(results, "nuclei_test"), "stock")[:3] == ["40.0", "", "44.0"]


def test_one_seed_has_no_sd(results):
    results["trials"] = [t for t in results["trials"] if t["seed"] == 0]
    assert cells(tables.ap_table(results, "nuclei_test"), "ours")[1:3] == ["43.0", "n/a"]


def test_every_row_names_its_config(results):
    assert "[ours](configs/ours.yaml)" in tables.ap_table(results, "nuclei_test")
    elsewhere = tables.ap_table(results, "nuclei_test", "docs/benchmarks")
    assert "[ours](../../configs/ours.yaml)" in elsewhere


def test_a_row_that_was_not_trained_here_says_so(results):
    peer = {**results["trials"][0], "arm": "StarDist", "external": "peer.json"}
    for key in ("config_file", "fingerprint", "machine", "versions", "curves"):
        del peer[key]
    peer["metrics"] = {"nuclei_test": copy.deepcopy(peer["metrics"]["nuclei_test"])}
    del peer["metrics"]["nuclei_test"]["bbox"]
    results["trials"].append(peer)
    text = report.report_text(results, Path("docs"))
    assert "StarDist (not trained here)" in text and "`peer.json`" in text
    assert "StarDist" not in tables.ap_table(results, "nuclei_val")
    assert cells(tables.coco_table(results, "nuclei_test"), "StarDist")[-1] == "n/a"
    assert "ap_by_seed.png" in figures(results, "nuclei_test")
    assert tables.verdict(results).startswith("On nuclei_test, ours reaches")


def test_a_metric_that_could_not_be_computed_is_shown_as_such(results):
    metrics = copy.deepcopy(results["trials"][0]["metrics"])
    metrics["nuclei_test"]["segm"]["AP"] = None
    results["trials"][0]["metrics"] = metrics
    assert cells(tables.ap_table(results, "nuclei_test"), "stock")[0] == "n/a"


def test_what_failed_says_so_in_its_cell(results):
    results["failed"] = {"other, seed 0": "failed with exit status 1, see output.log"}
    table = tables.ap_table(results, "nuclei_test")
    assert cells(table, "other, seed 0")[0].startswith("failed with") or "failed" in table


def test_the_verdict(results):
    assert tables.verdict(results) == (
        "On nuclei_test, ours reaches a mask AP of 45.0 and stock one of 42.0 (means of 3 and 3 "
        "seeds); the difference of +3.0 (+1.8 to +4.1) holds up. Of the other rows, in mask AP, it "
        "cannot be told apart from wide."
    )
    ours = results["differences"]["nuclei_test"]["ours"]
    ours["stock"]["AP"]["low"] = -0.1
    assert "does not hold up" in tables.verdict(results)
    ours["stock"]["AP"] |= {"low": 1.8, "p_value": 0.3}
    assert "does not hold up" in tables.verdict(results)
    ours["stock"]["AP"]["p_value"] = None  # one seed
    assert "does not hold up" in tables.verdict(results)
    ours["wide"]["AP"] = {"mean": -2, "low": -3, "high": -1, "p_value": 0.01}
    assert tables.verdict(results).endswith("it is behind wide.")
    ours["wide"]["AP"]["p_value"] = None
    assert tables.verdict(results).endswith("it has too few runs beside wide.")


def test_what_holds_up_is_bold(results):
    against_stock = tables.reference_table(results, "nuclei_test")
    assert cells(against_stock, "ours")[0] == "**+3.0 (+1.8 to +4.1), p 0.020**"
    assert cells(against_stock, "wide")[0] == "+0.2 (-0.4 to +0.5), p 0.020"
    leads = tables.lead_table(results, "nuclei_test")
    assert cells(leads, "wide")[0] == "+2.8 (-0.2 to +5.1), p 0.020"
    assert len(leads.splitlines()) == 3
    del results["differences"]["nuclei_test"]["ours"]["wide"]
    assert tables.lead_table(results, "nuclei_test") == ""


def test_no_verdict_without_both_arms(results):
    ours = results["differences"]["nuclei_test"].pop("ours")
    assert "no seed in common" in tables.verdict(results)
    results["differences"]["nuclei_test"]["ours"] = ours
    results["judged"] = "stock"
    assert "nothing to compare" in tables.verdict(results)
    # another arm does not slip into the place of one that failed
    results["reference"] = "gone"
    assert tables.verdict(results) == "There is no verdict: no training of gone finished."


def test_cost_is_beside_the_first_arms(results):
    text = tables.cost_tables(results)
    assert cells(text.partition("Milliseconds")[2], "ours")[-4:] == [
        *("135 to 180", "1.50", "1350", "0.15"),
    ]


def test_costs_are_beside_the_references_wherever_it_stands(results):
    results["cost"] = dict(reversed(results["cost"].items()))
    assert cells(tables.cost_tables(results).partition("Milliseconds")[2], "ours")[-3] == "1.50"
    del results["cost"]["stock"]
    assert cells(tables.cost_tables(results).partition("Milliseconds")[2], "ours")[-3] == ""


def test_pictures_are_pngs_and_do_not_change(results):
    made = figures(results, "nuclei_test")
    assert set(made) == {
        *("ap_by_seed.png", "precision_recall.png", "ap_by_size.png", "loss.png"),
        "ap_and_latency.png",
    }
    for _, data in made.values():
        assert matplotlib.image.imread(io.BytesIO(data)).shape[2] == 4
    assert figures(results, "nuclei_test") == made
    del results["cost"]
    assert "ap_and_latency.png" not in figures(results, "nuclei_test")


@pytest.mark.parametrize("name", ["a $x$", "$\\\\frac{", "_base", "100 % $"])
def test_names_of_arms_are_shown_as_they_are(results, name):
    arm = results["trials"][0]["arm"]
    for trial in results["trials"]:
        trial["arm"] = name if trial["arm"] == arm else trial["arm"]
    found = figures(results, datasets(results)[-1])
    assert found and all(data[:4] == b"\x89PNG" for _, data in found.values())
    text = Text(text=plain(name), figure=new_figure(1, 1))
    assert text._preprocess_math(text.get_text())[0].strip() == name
    assert not plain(name).startswith("_")


def test_reports_are_rebuilt_from_results_json(tmp_path, results):
    report.write_reports(tmp_path, results)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report.write_reports(tmp_path, load(tmp_path / RESULTS_FILE))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    text = first[report.REPORT_FILE].decode()
    assert "some processor" in text and "maskrcnnpp benchmark" in text
    page = first[report.HTML_FILE].decode()
    assert page.count("data:image/png;base64") == 5 and 'src="ap' not in page
    assert page.count("<table>") == text.count("|:--")


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[a](javascript:alert(1))",
    "![a](https://elsewhere.org/a.png)",
    "a | b `c` *d*",
)


def renamed(results, old, new):
    """The results with another name everywhere."""
    if isinstance(results, dict):
        return {new if k == old else k: renamed(v, old, new) for k, v in results.items()}
    if isinstance(results, list):
        return [renamed(value, old, new) for value in results]
    return new if results == old else results


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("old", ["ours", "nuclei_test", "configs/ours.yaml"])
def test_no_name_becomes_html(tmp_path, results, name, old):
    results = renamed(results, old, name)
    results["command"] = f"maskrcnnpp benchmark '{name}'"
    results["failed"] = {f"{name}, seed 1": name}
    for trial in results["trials"]:
        trial["machine"] = {"processor": name}
    report.write_reports(tmp_path, results)
    page = (tmp_path / report.HTML_FILE).read_text()
    root = ElementTree.fromstring(
        page.partition("<body>")[2].partition("</body>")[0].join(("<body>", "</body>"))
    )
    for element in root.iter():
        assert element.tag not in ("script", "iframe")
        assert element.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert not element.get("href", "").lower().startswith(("javascript", "data"))
        assert not any(key.startswith("on") for key in element.attrib)
    if not old.startswith("configs"):
        assert name in " ".join("".join(cell.itertext()) for cell in root.iter())


def test_a_sheet_that_could_not_be_drawn_says_why(tmp_path, results):
    (tmp_path / report.SHEET_FILE).write_bytes(b"of a run before")
    assert "differ most" not in report.report_text(results, tmp_path)
    results["widest_not_drawn"] = "a.png: cannot be read"
    text = report.report_text(results, tmp_path)
    assert "differ most in DSB score: not drawn: a.png: cannot be read" in text
    assert report.SHEET_FILE not in text


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"trials": []}'])
def test_a_file_that_is_no_result_is_named(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match="results.json"):
        load(path)
    with pytest.raises(DataError, match="missing.json"):
        load(tmp_path / "missing.json")


def test_a_file_of_another_layout_is_refused(tmp_path, results):
    del results["format"]
    report.write_reports(tmp_path, results)
    with pytest.raises(DataError, match="results.json is of format 1.*run the benchmark again"):
        load(tmp_path / RESULTS_FILE)


def test_quote_replaces_what_stands_between_the_marks():
    page = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n"
    quoted = report.quote(page, "t", "new")
    assert quoted == "a\n<!-- t -->\nnew\n<!-- /t -->\nb\n"
    assert report.quote(quoted, "t", "new") == quoted
    with pytest.raises(DataError, match="<!-- u -->"):
        report.quote(page, "u", "new")


#: Marks around a table of results.
QUOTED_RESULTS = r"<!-- (\w+) results -->"


def test_pages_quote_the_committed_results():
    """Between <!-- NAME results --> marks stands what docs/benchmarks/NAME/results.json gives."""
    pages = {Path(name): Path(name).read_text() for name in ("README.md", "docs/results.md")}
    quoted = [(n, page) for page, text in pages.items() for n in re.findall(QUOTED_RESULTS, text)]
    committed = {path.parent.name for path in Path("docs/benchmarks").glob("*/results.json")}
    assert committed <= {name for name, _ in quoted}
    for name, page in quoted:
        if name not in committed:  # no table before there is a record
            marks = f"<!-- {name} results -->(.*?)<!-- /{name} results -->"
            marked = re.search(marks, pages[page], re.DOTALL)
            assert "|" not in marked[1], f"{page} has a table of {name} without a record"
            continue
        folder = Path("docs/benchmarks", name)
        results = load(folder / RESULTS_FILE)
        dataset = datasets(results)[-1]
        table = f"{tables.ap_table(results, dataset, page.parent)}\n\n{tables.verdict(results)}"
        assert report.quote(pages[page], f"{name} results", table) == pages[page]
