"""Best checkpoint, early end, averaged weights."""

import errno
import os

import pytest
import torch
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import JSONWriter, TensorboardXWriter

from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.hooks.averaging import WeightAverage
from maskrcnnpp.engine.validation_loss import validation_losses
from maskrcnnpp.errors import ConfigError, OutputError

CONFIG = "tests/files/configs/nested.yaml"


def trainer_of(opts, *more):
    cfg = build_config(CONFIG, [*opts, *map(str, more)])
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer


@pytest.fixture
def opts(tiny_opts):
    more = {"SOLVER.MAX_ITER": 8, "SOLVER.CHECKPOINT_PERIOD": 2, "TEST.EVAL_PERIOD": 1}
    more["TEST.BEST_METRIC"] = "segm/AP"
    return [*tiny_opts, *(str(word) for pair in more.items() for word in pair)]


@pytest.fixture
def values(monkeypatch):
    """What the evaluations give, one after another."""
    values = []
    monkeypatch.setattr(Trainer, "test", lambda *_: {"segm": {"AP": values.pop(0)}})
    return values


def kept(tmp_path, name="model_best"):
    path = tmp_path / "output" / f"{name}.pth"
    return torch.load(path, weights_only=True)["iteration"]


def test_the_best_is_kept_across_a_restart(opts, values, tmp_path):
    values += [10.0, float("nan"), 30.0, 20.0]
    first = trainer_of(opts, "SOLVER.MAX_ITER", 4)
    first.train()
    assert first.evaluation.best == (30.0, 2) and kept(tmp_path) == 2
    assert (tmp_path / "output" / "last_checkpoint").read_text() == "model_0000003.pth"
    values += [29.0, 25.0, 31.0, 5.0]
    second = trainer_of(opts)
    assert second.start_iter == 4
    second.train()
    assert second.evaluation.best == (31.0, 6) and kept(tmp_path) == 6 and not values


def test_no_gain_ends_the_training_and_a_restart_does_not_go_on(opts, values, tmp_path):
    values += [10.0, 9.0, 10.0, 9.5]
    trainer = trainer_of(opts, "TEST.PATIENCE", 3)
    trainer.train()
    assert trainer.max_iter == 4 and kept(tmp_path) == 0 and kept(tmp_path, "model_final") == 3
    values += [9.5]  # the results of a training that is complete
    again = trainer_of(opts, "TEST.PATIENCE", 3)
    again.train()
    assert again.start_iter == again.max_iter == 4 and not values
    assert again.results == {"segm": {"AP": 9.5}}


def test_the_lowest_loss_is_the_best(opts, monkeypatch, tmp_path):
    losses = [3.0, 1.0, 2.0]
    monkeypatch.setattr(Trainer, "test", lambda *_: {})
    monkeypatch.setattr(Trainer, "_validation_losses", lambda *_: {"total_loss": losses.pop(0)})
    more = ["TEST.LOSS", True, "TEST.BEST_METRIC", "validation/total_loss", "SOLVER.MAX_ITER", 3]
    trainer = trainer_of(opts, *more)
    trainer.train()
    assert trainer.evaluation.best == (1.0, 1) and kept(tmp_path) == 1


def test_a_metric_that_is_not_there_is_told(opts, values):
    values += [1.0]
    with pytest.raises(ConfigError, match="BEST_METRIC is 'segm/mAP'.* it gives segm/AP"):
        trainer_of(opts, "TEST.BEST_METRIC", "segm/mAP").train()


def test_a_failing_evaluation_costs_no_iteration(opts, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("evaluation fails")

    monkeypatch.setattr(Trainer, "test", fail)
    with pytest.raises(RuntimeError, match="evaluation fails"):
        trainer_of(opts, "TEST.EVAL_PERIOD", 2).train()
    assert kept(tmp_path, "model_0000001") == 1
    monkeypatch.setattr(Trainer, "test", lambda *_: {"segm": {"AP": 1.0}})
    again = trainer_of(opts, "TEST.EVAL_PERIOD", 2)
    again.train()
    # the evaluation that failed was made up for
    assert kept(tmp_path) == 1


def test_averaged_weights_follow_the_formula():
    model = torch.nn.Linear(2, 1, bias=False)
    average = WeightAverage(model, decay=0.5)
    average.begin()
    expected = model.weight.detach().clone()
    for update in range(1, 30):
        with torch.no_grad():
            model.weight += 1
        average.after_step()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        torch.testing.assert_close(average.model.weight, expected)


def test_averaged_weights_are_evaluated_and_are_the_model_of_a_checkpoint(opts, tmp_path):
    more = ["SOLVER.EMA_DECAY", 0.9, "SOLVER.MAX_ITER", 2]
    trainer = trainer_of(opts, *more)
    trainer.train()
    saved = torch.load(tmp_path / "output" / "model_0000001.pth", weights_only=True)
    name = "backbone.bottom_up.network.conv_stem.weight"
    used = dict(trainer.model_in_use.named_parameters())[name]
    trained = dict(trainer.model.named_parameters())[name]
    assert torch.equal(saved["model"][name], used) and torch.equal(saved["trained"][name], trained)
    assert not torch.equal(used, trained)
    # switched off, the training goes on with what was trained
    assert torch.equal(dict(trainer_of(opts).model.named_parameters())[name], trained)


def test_validation_losses_are_the_same_in_every_call_and_change_nothing(opts, tiny_nuclei):
    trainer = trainer_of(opts, "SOLVER.MAX_ITER", 1)
    norm = torch.nn.BatchNorm2d(3)
    trainer.model.add_module("a_norm", norm)
    trainer.model.eval()
    before = {name: x.clone() for name, x in trainer.model.state_dict().items()}
    torch.manual_seed(1)
    first = trainer._validation_losses(trainer.model)
    torch.manual_seed(2)
    assert trainer._validation_losses(trainer.model) == first
    assert not trainer.model.training and not norm.training
    assert all(torch.equal(before[name], x) for name, x in trainer.model.state_dict().items())
    assert {"loss_mask_d1", "loss_mask_d2", "total_loss"} <= first.keys()
    assert first["total_loss"] == pytest.approx(
        sum(v for k, v in first.items() if k != "total_loss")
    )


def test_validation_losses_are_means_over_images():
    class Model(torch.nn.Module):
        def forward(self, batch):
            assert self.training and not torch.is_grad_enabled()
            return {"loss": torch.tensor(float(sum(batch)) / len(batch))}

    found = validation_losses(Model().eval(), [[1.0, 2.0], [6.0]])
    assert found == {"loss": 3.0, "total_loss": 3.0}


def test_an_evaluation_that_a_full_disk_stops_ends_no_training(opts, monkeypatch, tmp_path, caplog):
    gained, calls = [10.0, None, 30.0, 20.0], []

    def evaluate(*_):
        calls.append(gained[len(calls)])
        if calls[-1] is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return {"segm": {"AP": calls[-1]}}

    monkeypatch.setattr(Trainer, "test", evaluate)
    trainer = trainer_of(opts, "SOLVER.MAX_ITER", 4, "TEST.PATIENCE", 2)
    trainer.train()
    assert len(calls) == 4 and trainer.evaluation.best == (30.0, 2)
    assert "No space left on device; the training goes on without this evaluation" in caplog.text
    # at its end there are no results, and those of before are not taken for these
    gained[1] = None
    calls.clear()
    with pytest.raises(OutputError, match="results of the evaluation cannot be written: No space"):
        trainer_of(opts, "SOLVER.MAX_ITER", 2, "OUTPUT_DIR", tmp_path / "other").train()
    assert (tmp_path / "other" / "model_final.pth").is_file()


def test_the_best_of_other_test_data_is_not_the_best(opts, values, tiny_nuclei):
    values += [10.0, 20.0]
    trainer_of(opts, "SOLVER.MAX_ITER", 2).train()
    both = f"('{tiny_nuclei}','{tiny_nuclei}')"
    assert trainer_of(opts).evaluation.best == (20.0, 1)
    assert trainer_of(opts, "DATASETS.TEST", both).evaluation.best is None


def test_a_full_disk_stops_neither_log_nor_training(opts, values, monkeypatch, tmp_path, caplog):
    values += [1.0] * 8
    times = []

    def full(writer):
        times.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(JSONWriter, "write", full)
    monkeypatch.setattr(JSONWriter, "close", full)
    monkeypatch.setattr(TensorboardXWriter, "close", full)
    trainer_of(opts).train()
    assert len(times) > 2 and (tmp_path / "output" / "model_final.pth").is_file()
    assert caplog.text.count("JSONWriter: No space left on device; the training goes on") == 1
    assert "TensorboardXWriter: No space left on device" in caplog.text
