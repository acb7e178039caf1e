import importlib.util
import json

from maskrcnnpp.engine import build_config

spec = importlib.util.spec_from_file_location("ablations", "docs/benchmarks/ablations.py")
ablations = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ablations)


def test_the_page_is_what_the_record_gives():
    entries = json.loads(ablations.RECORD.read_text())
    assert ablations.PAGE.read_text() == ablations.page(entries)


def test_settings_repeat_a_training(tmp_path):
    config_file = "configs/quick/maskrcnnpp_R_18_embedded.yaml"
    cfg = build_config(ablations.STOCK, ablations.overrides(config_file))
    (tmp_path / "repeated.yaml").write_text(cfg.dump())
    assert ablations.settings(str(tmp_path / "repeated.yaml")) == ablations.settings(config_file)


def test_a_run_is_recorded_by_what_differs(tmp_path):
    opts = ["MODEL.NESTED_FPN.DEPTH", "2", "SEED", "4", "OUTPUT_DIR", "x", "MODEL.DEVICE", "cpu"]
    cfg = build_config(ablations.STOCK, opts)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    (tmp_path / "inference/dsb2018_val").mkdir(parents=True)
    metrics = {"segm": {"AP": 40.123, "AP50": 70.0, "AP75": 41.0}, "bbox": {"AP": 38.0}}
    (tmp_path / "inference/dsb2018_val/coco_metrics.json").write_text(json.dumps(metrics))
    entry = ablations.entry(tmp_path, "two rows")
    assert entry["settings"] == "MODEL.NESTED_FPN.DEPTH 2"
    assert (entry["seed"], entry["segm"]["AP"]) == (4, 40.12)
    assert "| `MODEL.NESTED_FPN.DEPTH 2` |" in ablations.page([entry])
    entry = ablations.entry(tmp_path, "two rows", code="wider nodes")
    assert "| wider nodes; `MODEL.NESTED_FPN.DEPTH 2` |" in ablations.page([entry])
