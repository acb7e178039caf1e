import importlib.util
import json

from maskrcnnpp.engine import build_config

spec = importlib.util.spec_from_file_location("ablations", "docs/benchmarks/ablations.py")
ablations = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ablations)


def test_the_page_is_what_the_record_gives():
    entries = json.loads(ablations.RECORD.read_text())
    assert ablations.PAGE.read_text() == ablations.page(entries)


def test_every_row_can_be_repeated():
    for row in json.loads(ablations.RECORD.read_text()):
        cfg = build_config(ablations.STOCK, ablations.overrides(row))
        found = dict(ablations.flat(json.loads(json.dumps(cfg))))
        wanted = {**ablations.settings(""), **row["settings"]}
        assert {key: found[key] for key in wanted} == wanted


def test_a_run_is_recorded_by_what_differs(tmp_path):
    opts = ["MODEL.NESTED_FPN.DEPTH", "2", "SEED", "4", "OUTPUT_DIR", "x", "MODEL.DEVICE", "cpu"]
    cfg = build_config(ablations.STOCK, opts)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    (tmp_path / "inference/dsb2018_val").mkdir(parents=True)
    metrics = {"segm": {"AP": 40.123, "AP50": 70.0, "AP75": 41.0}, "bbox": {"AP": 38.0}}
    (tmp_path / "inference/dsb2018_val/coco_metrics.json").write_text(json.dumps(metrics))
    entry = ablations.entry(tmp_path, "two rows")
    assert entry["settings"]["MODEL.RESNETS.DEPTH"] == 18  # not Detectron2's default
    assert ablations.overrides(entry) == ["MODEL.NESTED_FPN.DEPTH", "2"]
    assert (entry["seed"], entry["segm"]["AP"]) == (4, 40.12)
    assert "| `MODEL.NESTED_FPN.DEPTH 2` |" in ablations.page([entry])
    entry = ablations.entry(tmp_path, "two rows", code="wider nodes")
    assert "| wider nodes; `MODEL.NESTED_FPN.DEPTH 2` |" in ablations.page([entry])
