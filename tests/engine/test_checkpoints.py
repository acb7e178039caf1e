"""Checkpoints: whole or absent, and what a restart makes of them."""

import logging
import os
import signal
from pathlib import Path

import pytest
import torch
from detectron2.engine import HookBase, default_argument_parser
from detectron2.utils.env import seed_all_rng

from maskrcnnpp.engine import Trainer, build_config, run
from maskrcnnpp.errors import ConfigError, OutputError, TrainingStopped, UserError
from maskrcnnpp.files import PARTIAL
from maskrcnnpp.lock import LOCK_FILE, locked

CONFIG = "tests/files/configs/nested.yaml"
STOCK = "tests/files/configs/stock.yaml"


@pytest.fixture
def opts(tiny_opts):
    more = {"SOLVER.MAX_ITER": 4, "SOLVER.CHECKPOINT_PERIOD": 1, "DATASETS.TEST": "()"}
    return [*tiny_opts, *(str(word) for pair in more.items() for word in pair)]


def trainer_of(opts, *more, config=CONFIG):
    cfg = build_config(config, [*opts, *map(str, more)])
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer


def test_kept_ones_are_the_last(opts, tmp_path):
    trainer_of(opts, "SOLVER.CHECKPOINTS_KEPT", 2).train()
    found = sorted(path.name for path in (tmp_path / "output").glob("*.pth"))
    assert found == ["model_0000002.pth", "model_0000003.pth", "model_final.pth"]


def test_one_that_is_cut_short_is_passed_over(opts, tmp_path, caplog):
    trainer_of(opts).train()
    folder = tmp_path / "output"
    weights = torch.load(folder / "model_final.pth", weights_only=True)["model"]
    last = folder / "model_0000003.pth"
    os.truncate(last, last.stat().st_size // 2)
    again = trainer_of(opts)
    assert again.start_iter == 3
    assert "model_0000003.pth is not a checkpoint" in caplog.text and "one before" in caplog.text
    again.train()
    after = torch.load(folder / "model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(weights[name], after[name]) for name in weights)
    for path in folder.glob("*.pth"):
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match="model_0000003.pth is not a checkpoint.*model_final.pth"):
        trainer_of(opts)


def test_the_last_iteration_leaves_weights_to_use_and_a_checkpoint_to_go_on_from(opts, tmp_path):
    opts = [*opts, "SOLVER.CHECKPOINT_PERIOD", "0", "SOLVER.EMA_DECAY", "0.9"]
    trainer_of(opts).train()
    folder = tmp_path / "output"
    final = torch.load(folder / "model_final.pth", weights_only=True)
    last = torch.load(folder / "model_0000003.pth", weights_only=True)
    assert final.keys() == {"model", "iteration"} and final["iteration"] == 3
    assert all(torch.equal(final["model"][name], x) for name, x in last["model"].items())
    longer = trainer_of(opts, "SOLVER.MAX_ITER", 6)
    assert longer.start_iter == 4 and longer.optimizer.state
    (folder / "model_0000003.pth").unlink()
    with pytest.raises(ConfigError, match="model_final.pth has weights alone.*MODEL.WEIGHTS"):
        trainer_of(opts, "SOLVER.MAX_ITER", 6)


def test_a_full_disk_fails_the_saving_and_not_the_training(opts, tmp_path, monkeypatch, caplog):
    write = torch.save
    times = []

    def full(value, file):
        times.append(1)
        if len(times) in (2, 3):
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        write(value, file)

    monkeypatch.setattr(torch, "save", full)
    trainer_of(opts).train()
    assert caplog.text.count("No space left on device; the training goes on") == 2
    found = sorted(path.name for path in (tmp_path / "output").glob("*model*"))
    assert found == ["model_0000000.pth", "model_0000003.pth", "model_final.pth"]
    assert not list((tmp_path / "output").glob(".partial*"))


def test_a_disk_that_is_full_at_the_end_is_an_error(opts, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="model_final.pth cannot be written: Pytorch"):
        trainer_of(opts).train()


class Signal(HookBase):
    def __init__(self, number, times=1):
        self.number, self.times = number, times

    def before_step(self):
        if self.trainer.iter == 1:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "name", "status"),
    [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "Ctrl-C", 130)],
)
def test_a_signal_saves_and_the_rest_is_as_if_it_had_not_been(
    opts, tmp_path, monkeypatch, number, name, status
):
    before = signal.getsignal(number)
    opts = [*opts, "SOLVER.CHECKPOINT_PERIOD", "1000"]
    words = ["--config-file", CONFIG, "--resume"]
    args = default_argument_parser().parse_args([*words, *opts])
    build_hooks = Trainer.build_hooks
    with monkeypatch.context() as patched:
        hooks = lambda self: [Signal(number), *build_hooks(self)]  # noqa: E731
        patched.setattr(Trainer, "build_hooks", hooks)
        message = f"stopped by {name} after iteration 1, .*--resume goes on"
        with pytest.raises(TrainingStopped, match=message) as stopped:
            run(args)
    assert stopped.value.exit_status == status
    assert signal.getsignal(number) == before
    assert [path.name for path in (tmp_path / "output").glob("*.pth")] == ["model_0000001.pth"]
    run(args)
    alone = [*opts, "OUTPUT_DIR", str(tmp_path / "alone")]
    run(default_argument_parser().parse_args([*words, *alone]))
    a, b = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"]
        for name in ("output", "alone")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_second_ctrl_c_ends_a_training_at_once(opts, monkeypatch, capsys):
    build_hooks = Trainer.build_hooks
    hooks = lambda self: [*build_hooks(self), Signal(signal.SIGINT, times=2)]  # noqa: E731
    monkeypatch.setattr(Trainer, "build_hooks", hooks)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer_of(opts).train()
    assert "Ctrl-C again ends at once" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) == before


def test_other_data_or_another_model_are_told(opts, tiny_nuclei, monkeypatch, tmp_path):
    trainer_of(opts).train()
    with pytest.raises(ConfigError, match="are of another grid"):
        trainer_of(opts, config=STOCK)
    with pytest.raises(ConfigError, match=r"box_predictor.*is \(2, .*ROI_HEADS.NUM_CLASSES"):
        trainer_of(opts, "MODEL.ROI_HEADS.NUM_CLASSES", 3)
    monkeypatch.setattr("maskrcnnpp.engine.trainer.data_fingerprint", lambda names: "other")
    with pytest.raises(ConfigError, match="training data are not those of DATASETS.TRAIN now"):
        trainer_of(opts)
    words = ["--config-file", CONFIG, "--resume", *opts]
    with pytest.raises(ConfigError, match="output, or MODEL.WEIGHTS .* training data are not"):
        run(default_argument_parser().parse_args(words))


def test_weights_that_fit_partly_are_reported(opts, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="maskrcnnpp")
    trainer_of(opts).train()
    weights = ["MODEL.WEIGHTS", tmp_path / "output" / "model_final.pth"]
    weights += ["OUTPUT_DIR", tmp_path / "new"]
    caplog.clear()
    trainer_of(opts, *weights, "MODEL.ROI_HEADS.NUM_CLASSES", 3)
    assert "begins at random: roi_heads.box_predictor.cls_score.weight is (2, " in caplog.text
    assert "look at MODEL.ROI_HEADS.NUM_CLASSES" in caplog.text
    caplog.clear()
    known = torch.load(tmp_path / "output" / "model_final.pth", weights_only=True)["model"]
    torch.save({"model": {**known, "another_head.weight": torch.zeros(1)}}, tmp_path / "more.pth")
    trainer_of(opts, *weights, "MODEL.WEIGHTS", tmp_path / "more.pth")
    assert "left in the file, not in the model: another_head" in caplog.text
    torch.save({"model": {"backbone.a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="none of its weights is of this model"):
        trainer_of(opts, "MODEL.WEIGHTS", tmp_path / "other.pth", "OUTPUT_DIR", tmp_path / "new")


def test_evaluation_takes_no_random_weights(opts, tiny_nuclei, tmp_path):
    trainer_of(opts).train()
    weights = str(Path(tmp_path, "output", "model_final.pth"))
    more = ["INPUT.CHANNELS", "[0,0]", "MODEL.PIXEL_MEAN", "[1.,1.]", "MODEL.PIXEL_STD", "[1.,1.]"]
    more += ["DATASETS.TEST", f"('{tiny_nuclei}',)", "MODEL.WEIGHTS", weights]
    words = ["--config-file", CONFIG, "--eval-only", *opts, *more]
    with pytest.raises(ConfigError, match="conv_stem.weight.* would be random"):
        run(default_argument_parser().parse_args(words))


def test_one_training_at_a_time_in_a_folder(opts, tmp_path):
    words = ["--config-file", CONFIG, *opts]
    args = default_argument_parser().parse_args(words)
    folder = tmp_path / "output"
    with locked(folder):
        for more in ([], ["--resume"]):
            with pytest.raises(UserError, match="output is in use by process"):
                run(default_argument_parser().parse_args([*words[:2], *more, *opts]))
        assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    # what a training that was killed was writing goes
    (folder / f"{PARTIAL}x.pth").touch()
    (folder / "inference" / "a").mkdir(parents=True)
    (folder / "inference" / "a" / f"{PARTIAL}x.json").touch()
    run(args)
    assert not list(folder.rglob(f"{PARTIAL}*")) and not (folder / LOCK_FILE).exists()


def test_a_log_that_cannot_be_written_is_named(opts, tmp_path):
    (tmp_path / "output" / "log.txt").mkdir(parents=True)
    args = default_argument_parser().parse_args(["--config-file", CONFIG, *opts])
    with pytest.raises(OutputError, match="output/log.txt cannot be written: Is a directory"):
        run(args)
