"""The progress line, the record of starts, curves, pictures and the table at the end."""

import json
import logging

import cv2
import numpy as np
import pytest
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.curves import draw_curves, write_curves
from maskrcnnpp.engine.progress import closing_table, progress_line, short_time

CONFIG = "tests/files/configs/nested.yaml"


@pytest.fixture
def opts(tiny_opts):
    more = {"SOLVER.MAX_ITER": 4, "SOLVER.CHECKPOINT_PERIOD": 2, "TEST.EVAL_PERIOD": 2}
    more |= {"TEST.LOSS": True, "TEST.BEST_METRIC": "segm/AP"}
    return [*tiny_opts, *(str(word) for pair in more.items() for word in pair)]


def train(opts, *more):
    cfg = build_config(CONFIG, [*opts, *map(str, more)])
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return trainer


def test_all_that_a_training_leaves(opts, tiny_nuclei, tmp_path, caplog, drawn_curves):
    folder = tmp_path / "output"
    with caplog.at_level(logging.INFO, logger="maskrcnnpp"):
        train(opts)
    assert "iteration 4/4 (100 %)" in caplog.text and " left  loss " in caplog.text
    table = caplog.text.partition("end of the training")[2]
    for word in ("4 in 0:00:", "segm/AP", "best segm/AP", "model_final.pth, model_best.pth, "):
        assert word in table
    for name in ("curves.png", "predictions.png"):
        picture = cv2.imread(str(folder / name))
        assert picture is not None and picture.std() > 5
        assert name in table
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    assert {"total_loss", "validation/total_loss", "lr", "segm/AP"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == [f"{tiny_nuclei}: truth, prediction"]


def test_every_start_is_recorded_and_changes_are_told(opts, tiny_nuclei, tmp_path, caplog):
    train(opts, "DATASETS.TEST", "()", "TEST.LOSS", False, "TEST.BEST_METRIC", "")
    with caplog.at_level(logging.INFO, logger="maskrcnnpp"):
        train(opts, "SOLVER.MAX_ITER", 6, "SOLVER.BASE_LR", 0.5)
    path = tmp_path / "output" / "runs.json"
    first, second = json.loads(path.read_text())
    assert (first["start_iteration"], second["start_iteration"]) == (0, 4)
    assert first["data"][tiny_nuclei] == second["data"][tiny_nuclei]
    assert first["versions"]["torch"] and first["machine"]["cores"] and first["seed"] == 0
    assert second["changed"]["SOLVER.BASE_LR"] == ["0.001", "0.5"] and not first["changed"]
    assert "since the last start SOLVER.BASE_LR changed from 0.001 to 0.5" in caplog.text
    path.write_text("{")
    train(opts, "SOLVER.MAX_ITER", 7)
    assert len(json.loads(path.read_text())) == 1
    assert (tmp_path / "output" / "runs.damaged.json").read_text() == "{"


def test_the_line_says_the_time_left():
    with EventStorage(0) as storage:
        assert progress_line(storage, 10).startswith("iteration 1/10 (10 %)  memory ")
        for _ in range(5):
            storage.put_scalars(total_loss=3.0, loss_mask=1.0, time=2.0, data_time=0.5)
            storage.put_scalar("lr", 0.02, smoothing_hint=False)
            storage.step()
        line = progress_line(storage, 10)
    assert line.startswith("iteration 6/10 (60 %)  0:00:08 left  loss 3 (mask 1)  lr 0.02  2 s ")
    assert "(0.5 waiting for images)" in line and " GiB" in line
    assert storage.latest()["eta_seconds"][0] == 8.0
    assert short_time(3723.4) == "1:02:03"


def test_the_table_names_only_files_that_are_there(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    about = {"iterations": 3, "seconds": 61.0, "metric": "segm/AP", "folder": str(tmp_path)}
    results = {"segm": {"AP": 41.234, "AP50": 60.0}}
    table = closing_table(
        **about, results=results, best=(42.0, 1), left_out=2, files=["config.yaml", "a.png"]
    )
    assert "3 in 0:01:01" in table and "segm/AP" in table and "41.23" in table
    assert "AP50" not in table and "42 after iteration 1" in table and "2 iterations" in table
    assert "config.yaml" in table and "a.png" not in table


@pytest.mark.parametrize("evaluations", [0, 1, 5])
def test_curves_of_short_and_long_trainings(tmp_path, evaluations):
    entries = [{"iteration": k, "total_loss": 2.0 / k, "lr": 0.1} for k in range(1, 40)]
    for entry in entries[:evaluations]:
        entry |= {"segm/AP": 30.0, "validation/total_loss": 2.0, "loss_mask": float("nan")}
    assert write_curves(tmp_path) is None
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (tmp_path / "metrics.json").write_text(lines)
    picture = cv2.imread(str(write_curves(tmp_path)))
    assert np.ptp(picture) > 200
    assert draw_curves(entries) == (tmp_path / "curves.png").read_bytes()
