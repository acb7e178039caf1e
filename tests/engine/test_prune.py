"""tools/prune.py, on the tiny data set."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from maskrcnnpp import cli
from maskrcnnpp.benchmark import cost
from maskrcnnpp.engine import Trainer, build_config, run
from maskrcnnpp.engine.prune import CONFIG_FILE, ORIGIN, WEIGHTS_FILE, prune_checkpoint
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.checkpoint import read_checkpoint

QUICK = "tests/files/configs/nested.yaml"


def engine(config_file, *opts, eval_only=False):
    args = {"config_file": str(config_file), "opts": list(opts), "resume": False}
    return run(argparse.Namespace(**args, eval_only=eval_only))


@pytest.fixture
def trained(tiny_opts, tmp_path):
    """OUTPUT_DIR of two iterations."""
    engine(QUICK, *tiny_opts, "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()")
    return tmp_path / "output"


def test_a_checkpoint_is_cut_evaluated_and_trained_further(trained, tiny_nuclei, tmp_path, capsys):
    weights = trained / "model_final.pth"
    common = ["--config-file", str(trained / "config.yaml"), "--weights", str(weights)]
    cli.main(["prune", *common, "--depth", "2", "--output-dir", str(tmp_path / "cut")])
    assert "--eval-only" in capsys.readouterr().out

    cut = torch.load(tmp_path / "cut" / WEIGHTS_FILE, weights_only=True)
    assert set(cut) == {"model", ORIGIN}  # no optimizer, no schedule
    origin = cut[ORIGIN]
    assert (origin["from_depth"], origin["depth"]) == (4, 2)
    assert origin["cut_from"] == str(weights)
    assert (tmp_path / "cut" / WEIGHTS_FILE).stat().st_size < weights.stat().st_size

    cfg = build_config(str(tmp_path / "cut" / CONFIG_FILE))
    model = Trainer.build_model(cfg)
    model.load_state_dict(cut["model"], strict=True)
    test = ["DATASETS.TEST", f"('{tiny_nuclei}',)"]
    results = engine(tmp_path / "cut" / CONFIG_FILE, *test, eval_only=True)
    assert set(results) == {"bbox", "segm"}
    engine(tmp_path / "cut" / CONFIG_FILE, "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "1")
    assert (
        read_checkpoint(tmp_path / "cut" / "model_final.pth")["model"].keys() == cut["model"].keys()
    )
    with pytest.raises(ConfigError, match="training that began from a pruned"):
        prune_checkpoint(build_config(common[1]), weights, 1, tmp_path / "cut")


def test_every_depth_is_cut_evaluated_and_measured(trained, tmp_path, capsys, monkeypatch):
    # memory is measured in this process: no number of it is looked at, and a new one takes seconds
    monkeypatch.setattr(cost, "in_own_process", lambda function, *arguments: function(*arguments))
    common = ["--config-file", str(trained / "config.yaml")]
    common += ["--weights", str(trained / "model_final.pth"), "--output-dir", str(tmp_path / "t")]
    test = ["DATASETS.TEST", str(build_config(str(trained / "config.yaml")).DATASETS.TRAIN)]
    cli.main(["prune", *common, "--table", "--max-ap-drop", "100", *test])
    out = capsys.readouterr().out
    assert [f"| L{depth} " in out for depth in (1, 2, 3, 4, 5)] == [True] * 4 + [False]
    assert "Recommended, at most 100 AP below" in out
    rows = json.loads((tmp_path / "t" / "depths.json").read_text())["depths"]
    for key in ("parameters", "flops"):
        costs = [row[key] for row in rows]
        assert costs == sorted(costs) and len(set(costs)) == 4
    assert all(row["AP"] >= 0 and row["latency"][0] > 0 for row in rows)


def test_a_cut_checkpoint_does_not_fit_the_full_config(trained, tmp_path, tiny_nuclei):
    cfg = build_config(str(trained / "config.yaml"))
    prune_checkpoint(cfg, str(trained / "model_final.pth"), 1, tmp_path / "cut")
    weights = str(tmp_path / "cut" / WEIGHTS_FILE)
    words = "depth 1, the config asks for depth 4: set MODEL.NESTED_FPN.DEPTH to 1"
    with pytest.raises(ConfigError, match=words):
        engine(
            trained / "config.yaml",
            *("MODEL.WEIGHTS", weights, "DATASETS.TEST", f"('{tiny_nuclei}',)"),
            eval_only=True,
        )


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "list", "other"])
def test_files_that_are_no_checkpoint(tmp_path, content):
    path = tmp_path / "some.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([1, 2] if content == "list" else {"weights": {}}, path)
    with pytest.raises(ConfigError, match="some.pth is not a checkpoint"):
        prune_checkpoint(build_config(QUICK), str(path), 1, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_the_config_of_the_training_is_not_overwritten(trained):
    cfg = build_config(str(trained / "config.yaml"))
    before = (trained / "config.yaml").read_text()
    for _ in range(2):
        with pytest.raises(ConfigError, match="choose another --output-dir"):
            prune_checkpoint(cfg, str(trained / "model_final.pth"), 2, trained)
    assert (trained / "config.yaml").read_text() == before
    for _ in range(2):  # a cut can be made again
        prune_checkpoint(cfg, str(trained / "model_final.pth"), 2, trained / "cut")


def test_bad_arguments(tmp_path, capsys):
    weights = str(tmp_path / "weights.pth")
    torch.save({"model": Trainer.build_model(build_config(QUICK)).state_dict()}, weights)
    common = ["--config-file", QUICK, "--output-dir", str(tmp_path / "cut")]
    for words, message in (
        (["--weights", "nowhere.pth", "--depth", "1"], "nowhere.pth cannot be read"),
        (["--weights", weights, "--depth", "7"], "choose 1..4"),
        (["--weights", QUICK, "--depth", "1"], "is not a checkpoint of a training"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["prune", *common, *words])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert not Path(tmp_path / "cut").exists()
