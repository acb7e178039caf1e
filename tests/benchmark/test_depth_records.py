"""The records of docs/benchmarks about depth, and the pages drawn from them."""

import json

import pytest
from made_up import script

from maskrcnnpp.benchmark.cost import STAGES
from maskrcnnpp.engine import build_config

embedded, depth_cost = map(script, ("embedded", "depth_cost"))


RECORDED = [module for module in (embedded, depth_cost) if module.RECORD.is_file()]


@pytest.mark.parametrize("module", RECORDED, ids=lambda module: module.__name__)
def test_the_page_is_what_the_record_gives(module):
    record = json.loads(module.RECORD.read_text())
    assert module.PAGE.read_text() == module.page(record)


@pytest.mark.skipif(not embedded.RECORD.is_file(), reason="not measured with configs/cpu yet")
def test_the_page_of_results_quotes_the_record():
    results = embedded.RESULTS.read_text()
    record = json.loads(embedded.RECORD.read_text())
    table = embedded.depth_table(record, "dsb2018_test", embedded.RESULTS.parent)
    assert embedded.quote(results, embedded.QUOTED, table) == results


def test_every_depth_is_compared_with_its_isolated_training(results):
    """A made-up record: a depth that gains 2 AP from embedding, and one that loses 1."""
    (dataset,) = set(results["evaluation"]["datasets"]) - {"nuclei_val"}
    template = results["trials"][0]
    aps = {embedded.STOCK: 40}
    for depth in embedded.ISOLATED:
        aps[embedded.arm("isolated", depth)] = 40 + depth
        aps[embedded.arm("embedded", depth)] = 42 + depth if depth < 4 else 43
    results["trials"] = [
        {
            **template,
            "arm": arm,
            "seed": seed,
            "metrics": {dataset: {"segm": {"AP": ap, "AP50": 70}, "shown": {"dsb_score": 0.4}}},
        }
        for arm, ap in aps.items()
        for seed in (0, 1, 2)
    ]
    results["evaluation"]["datasets"] = {dataset: {"images": 4}}
    gain = {"AP": {"mean": 2.0, "low": 1.0, "high": 3.0, "p_value": 0.01}}
    loss = {"AP": {"mean": -1.0, "low": -2.0, "high": 0.5, "p_value": 0.2}}
    results["differences"] = {
        dataset: {
            embedded.arm("embedded", depth): {
                embedded.arm("isolated", depth): gain if depth < 4 else loss
            }
            for depth in embedded.ISOLATED
        }
    }
    page = embedded.page(results)
    row = next(line for line in page.splitlines() if "isolated_L1.yaml" in line)
    assert [cell.strip() for cell in row.split("|")[2:5]] == [
        "41.0 (0.0)",
        "43.0 (0.0)",
        "**+2.0 (+1.0 to +3.0)**",
    ]
    assert "| -1.0 (-2.0 to +0.5) |" in " ".join(page.split())
    assert embedded.picture(results).startswith(b"\x89PNG")


def test_the_isolated_arms_are_of_the_depth_they_are_named_after():
    for depth, file in embedded.ISOLATED.items():
        cfg = build_config(file)
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
