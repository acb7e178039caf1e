import json

import pytest
from made_up import script

from maskrcnnpp.engine import build_config
from maskrcnnpp.errors import DataError

ablations = script("ablations")

CONFIG = "configs/quick/mask_rcnn_R_18_FPN.yaml"
COMMAND = f"tools/train_net.py --config-file {CONFIG} --resume OUTPUT_DIR x SEED 4 "
COMMAND += "INPUT.CROP.SIZE '[192, 192]'"


@pytest.fixture
def run_dir(tmp_path):
    cfg = build_config(CONFIG, ["SEED", "4", "INPUT.CROP.SIZE", "[192, 192]"])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    (tmp_path / "model_final.pth").touch()
    start = {"command": COMMAND, "seed": 4, "settings": {"SEED": "4"}}
    start |= {"versions": {"maskrcnnpp": "0.1.0 0123456789"}, "machine": {"processor": "any"}}
    (tmp_path / "runs.json").write_text(json.dumps([start, start]))
    (tmp_path / "inference/dsb2018_val").mkdir(parents=True)
    segm = dict.fromkeys(("AP50", "AP75", "APs", "APm", "APl"), 70.0) | {"AP": 40.123}
    metrics = {"segm": segm, "bbox": {"AP": 38.0}}
    (tmp_path / "inference/dsb2018_val/coco_metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def test_the_page_is_what_the_record_gives():
    entries = json.loads(ablations.RECORD.read_text())
    assert ablations.PAGE.read_text() == ablations.page(entries)


def test_a_run_is_recorded_by_the_command_that_repeats_it(run_dir):
    entry = ablations.entry(run_dir, "recipe", "larger crops")
    assert entry["arguments"] == f"--config-file {CONFIG} INPUT.CROP.SIZE '[192, 192]'"
    assert (entry["seed"], entry["segm"]["AP"], entry["commit"]) == (4, 40.12, "0123456789")
    assert 12e6 < entry["parameters"] < 13e6
    (run_dir / "trial.json").write_text('{"config_file": "configs/a.yaml"}')  # of a benchmark
    trained = ablations.entry(run_dir, "recipe", "larger crops")
    assert trained["arguments"] == "--config-file configs/a.yaml INPUT.CROP.SIZE '[192, 192]'"
    better = {**entry, "segm": {**entry["segm"], "AP": 41.0}, "what": "better"}
    other_seed = {**entry, "seed": 5, "what": "first of its seed"}
    rows = ablations.page([entry, better, other_seed]).splitlines()
    gains = {row.split("|")[1].strip(): row.split("|")[5].strip() for row in rows if "`--" in row}
    assert gains == {"larger crops": "", "better": "+0.9", "first of its seed": ""}
    of_another_group = {**better, "group": "design", "what": "wider", "than": "larger crops"}
    (row,) = (x for x in ablations.page([entry, of_another_group]).splitlines() if "wider" in x)
    assert "| wider (compared with: larger crops) |" in row and "| +0.9 " in row


def test_what_cannot_be_repeated_is_no_row(run_dir):
    starts = json.loads((run_dir / "runs.json").read_text())
    starts[1] = {**starts[1], "settings": {"SEED": "5"}}
    (run_dir / "runs.json").write_text(json.dumps(starts))
    with pytest.raises(DataError, match="changed at a restart"):
        ablations.entry(run_dir, "recipe", "larger crops")
    (run_dir / "runs.json").write_text(json.dumps(starts[:1]))
    (run_dir / "model_final.pth").unlink()
    with pytest.raises(DataError, match="has not finished"):
        ablations.entry(run_dir, "recipe", "larger crops")
