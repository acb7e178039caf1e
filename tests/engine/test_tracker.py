"""Trainings in MLflow, Weights & Biases and Trackio."""

import contextlib
import json
import logging
import sqlite3

import pytest

from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.hooks.tracker import check_tracker
from maskrcnnpp.errors import ConfigError, UserError

# a tracker with the functions of trackio
MODULE = """
class Run:
    name = "run-1"

    def log(self, values, step):
        calls.append((step, values))
        if len(calls) == broken_at:
            raise ValueError("the disk of the tracker is full")

    def finish(self):
        calls.append("end")

def init(**about):
    if about["project"] == "forbidden":
        raise PermissionError("no key")
    calls.append(about)
    return Run()

calls, broken_at = [], 0
"""


@pytest.fixture
def trackio(tmp_path, monkeypatch):
    (tmp_path / "trackio.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "trackio", raising=False)
    yield __import__("trackio")
    __import__("sys").modules.pop("trackio")


def train(tiny_opts, name, iterations=2, *more):
    words = ["TRACKER.NAME", name, "TRACKER.PROJECT", "nuclei", "TEST.PICTURES", "0"]
    words += ["SOLVER.MAX_ITER", str(iterations), "TEST.EVAL_PERIOD", "2", *more]
    cfg = build_config("tests/files/configs/stock.yaml", [*tiny_opts, *words])
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer.train()


def test_scalars_config_and_metrics_are_sent_and_a_resumed_run_is_the_same(tiny_opts, trackio):
    results = train(tiny_opts, "trackio")
    about, (step, values), end = trackio.calls
    assert about["project"] == "nuclei" and about["config"]["SOLVER"]["MAX_ITER"] == 2
    assert end == "end" and step in (0, 1, 2)
    assert {"total_loss", "loss_mask", "lr", "segm/AP"} <= set(values)
    assert values["segm/AP"] == pytest.approx(results["segm"]["AP"], nan_ok=True)
    trackio.calls.clear()
    train(tiny_opts, "trackio", 4)
    about, *logged, end = trackio.calls
    assert (about["name"], about["resume"]) == ("run-1", "allow")
    assert min(step for step, _ in logged) >= 2


def test_a_tracker_that_fails_ends_no_training(tiny_opts, trackio, caplog):
    trackio.broken_at = 2
    with caplog.at_level(logging.ERROR):
        train(tiny_opts, "trackio", 2, "TEST.EVAL_PERIOD", "0")
    assert "trackio: the disk of the tracker is full; the training goes on" in caplog.text
    assert trackio.calls[-1] != "end"
    with pytest.raises(UserError, match="trackio does not begin a run: no key"):
        train(tiny_opts, "trackio", 4, "TRACKER.PROJECT", "forbidden")


def test_a_tracker_that_is_not_there(tiny_cfg, tmp_path, monkeypatch):
    tiny_cfg.TRACKER.NAME = "tensorboard"
    with pytest.raises(ConfigError, match="TRACKER.NAME is 'tensorboard'; it can be mlflow, wandb"):
        check_tracker(tiny_cfg)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    (tmp_path / "wandb").mkdir()  # the runs of a tracker, in the working folder
    tiny_cfg.TRACKER.NAME = "wandb"
    monkeypatch.delitem(__import__("sys").modules, "wandb", raising=False)
    with pytest.raises(ConfigError, match="not installed: pip install wandb"):
        check_tracker(tiny_cfg)


def test_mlflow(tiny_opts, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    results = train(tiny_opts, "mlflow")
    train(tiny_opts, "mlflow", 4)
    (run,) = mlflow.search_runs(experiment_names=["nuclei"], output_format="list")
    assert run.info.run_name == "output" and run.info.status == "FINISHED"
    assert run.data.params["SOLVER.MAX_ITER"] == "2"
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "segm/AP")
    assert history[0].value == pytest.approx(results["segm"]["AP"], nan_ok=True)
    assert {"total_loss", "lr", "bbox/AP"} <= set(run.data.metrics)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.yaml"]


def test_weights_and_biases_offline(tiny_opts, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(tiny_opts, "wandb")
    run_id = json.loads((tmp_path / "output" / "tracker.json").read_text())["wandb"]
    (record,) = (tmp_path / "output" / "wandb").glob(f"offline-run-*/run-{run_id}.wandb")
    from wandb.sdk.internal.datastore import DataStore

    store, seen = DataStore(), set()
    store.open_for_scan(str(record))
    while data := store.scan_data():
        entry = wandb.proto.wandb_internal_pb2.Record.FromString(data)
        seen |= {item.key or "/".join(item.nested_key) for item in entry.history.item}
    assert {"total_loss", "segm/AP"} <= seen


def test_trackio_itself(tiny_opts, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "runs"))  # read when it is imported
    pytest.importorskip("trackio")
    train(tiny_opts, "trackio")
    train(tiny_opts, "trackio", 4)
    with contextlib.closing(sqlite3.connect(tmp_path / "runs/nuclei.db")) as runs:
        found = runs.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert len({name for name, _, _ in found}) == 1
    assert found[-1][1] == 3 and "segm/AP" in json.loads(found[-1][2])
