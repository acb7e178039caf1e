"""The records of docs/benchmarks, and the pages and reports drawn from them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up import cells, script

from maskrcnnpp.benchmark.cost import STAGES
from maskrcnnpp.benchmark.figures import figures
from maskrcnnpp.benchmark.record import record_files
from maskrcnnpp.benchmark.report import REPORT_FILE, quote, quoted_table, report_text
from maskrcnnpp.benchmark.results import RESULTS_FILE, datasets, load
from maskrcnnpp.convert.splits import classify_stain
from maskrcnnpp.engine import build_config
from maskrcnnpp.errors import UserError

depth_cost, kinds, speed, tiling = map(script, ("depth_cost", "kinds", "speed", "tiling"))
OF_BENCHMARKS = sorted(path.parent for path in Path("docs/benchmarks").rglob(RESULTS_FILE))


@pytest.mark.parametrize(
    "module", [depth_cost, kinds, speed, tiling], ids=lambda module: module.__name__
)
def test_the_page_is_what_the_record_gives(module):
    file, page = record_files(module.__file__)
    record = json.loads(file.read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8") == module.page(record)


@pytest.mark.parametrize("folder", OF_BENCHMARKS, ids=lambda folder: folder.name)
def test_the_report_is_what_the_record_gives(folder):
    results = load(folder / RESULTS_FILE)
    pictures = figures(results, datasets(results)[-1])
    words = {name: text for name, (text, _) in pictures.items()}
    assert (folder / REPORT_FILE).read_text() == report_text(results, folder, words)
    assert all((folder / name).is_file() for name in pictures)
    for trial in results["trials"]:
        assert Path(trial["config_file"]).is_file()


@pytest.mark.parametrize("folder", OF_BENCHMARKS, ids=lambda folder: folder.name)
def test_the_pages_quote_the_record(folder):
    results, name = load(folder / RESULTS_FILE), f"{folder.name} results"
    pages = [Path("docs/results.md"), Path("README.md")]
    quoting = [page for page in pages if f"<!-- {name} -->" in page.read_text(encoding="utf-8")]
    assert quoting
    for page in quoting:
        text = page.read_text(encoding="utf-8")
        assert quote(text, name, quoted_table(results, page.parent)) == text


def test_the_isolated_arms_are_of_the_depth_they_are_named_after():
    for depth in (1, 2, 3):
        cfg = build_config(f"configs/benchmark/lite0/isolated_L{depth}.yaml")
        assert (cfg.MODEL.NESTED_FPN.DEPTH or len(cfg.MODEL.FPN.IN_FEATURES) - 1) == depth
        assert not any(cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS)


def test_the_costs_of_parts_are_shown_beside_stock(tmp_path):
    seconds = {stage: [0.5] * 3 for stage in STAGES} | {"total": [2.0] * 3}
    slow = {**seconds, "total": [5.0] * 3}
    names = ["stock", "L1"]
    costs = {
        "parameters": dict.fromkeys(names, 4_000_000),
        "peak_memory": dict.fromkeys(names, 900.0),
        "latency": {"stock": seconds, "L1": slow},
        "exported": {"stock": 0.5, "L1": 0.4},
        "repeats": 1,
        "machine": {},
        "versions": {},
    }
    row = next(line for line in depth_cost.page(costs).splitlines() if line.startswith("| L1"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "L1",
        *["0.50"] * (len(STAGES) - 1),
        "5.00 (2.50)",
        "0.40 (0.80)",
        "900",
        "4.00",
    ]
    for arm in depth_cost.arms(tmp_path):
        cfg = build_config(arm.config_file)
        assert not cfg.MODEL.WEIGHTS
        assert cfg.MODEL.NESTED_FPN.DEPTH == dict((n, d) for n, _, d in depth_cost.ARMS)[arm.name]


def test_seconds_are_for_a_megapixel():
    of_image = {"objects": 33, "cpu": [0.5, 0.2, 0.3], "wall": [0.5] * 3, "peak": 700.4}
    about = {"cold": 1.04, "images": [of_image, of_image, of_image]}
    few = {"cold": 1.04, "images": [{**of_image, "objects": None}]}
    programs = {"ours": about, "a network": few}
    found = {"programs": programs, "sides": [512, 1024, 2048], "repeats": 3, "accuracy": {}}
    page = speed.page({**found, "machine": {}, "versions": {}})
    row = ["1.20 (2.00)", "33", "0.30 (0.50)", "33", "0.07 (0.12)", "33", "700", "1.0"]
    assert cells(page, "ours") == row
    assert cells(page, "a network") == ["1.20 (2.00)", "", "", "", "", "", "700", "1.0"]


def test_a_program_that_fails_says_why(tmp_path):
    (tmp_path / "fails.py").write_text("raise SystemExit('no such model')")
    with pytest.raises(UserError, match="fails.py failed: no such model"):
        speed.run([speed.sys.executable, str(tmp_path / "fails.py")], [])


def test_each_fold_leaves_one_kind_out(tmp_path, monkeypatch):
    colours = {"dark": (9, 9, 9), "light": (230, 230, 230), "pink": (200, 120, 180)}
    colours["white"] = (250, 200, 230)
    data = tmp_path / "dsb2018"
    for folder in ("images", "annotations"):
        (data / folder).mkdir(parents=True)
    images = []
    for number, (name, colour) in enumerate(colours.items(), start=1):
        pixels = np.full((8, 8, 3), colour, np.uint8)
        assert classify_stain(pixels)
        cv2.imwrite(str(data / "images" / f"{name}.png"), pixels[..., ::-1])
        images.append({"id": number, "file_name": f"{name}.png", "height": 8, "width": 8})
    truth = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "nucleus"}]}
    for part in ("train", "val", "test"):
        (data / "annotations" / f"instances_{part}.json").write_text(json.dumps(truth))
    monkeypatch.setattr(kinds, "datasets_root", lambda: str(tmp_path))
    kinds.write_folds(tmp_path / "folds")
    sizes = {"train": 6, "tune": 3, "test": 3}  # of 4 images in each of 3 parts
    kept = dict(zip(kinds.KINDS, ("dark", "pink", "white", "light")))
    for kind, name in kept.items():
        for fold, size in sizes.items():
            found = json.loads((tmp_path / "folds" / kind / f"{fold}.json").read_text())["images"]
            names = {image["file_name"] for image in found}
            assert len(found) == len({image["id"] for image in found}) == size
            assert (names == {f"{name}.png"}) if fold == "test" else f"{name}.png" not in names
    words = kinds.options(tmp_path / "folds" / "h_and_e", 300)
    assert words[-2:] == ["SOLVER.STEPS", "(200, 270)"]
