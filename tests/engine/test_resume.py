"""Settings that change where a training is resumed."""

from pathlib import Path

import pytest
import torch

from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.optimizer_state import optimizer_names
from maskrcnnpp.errors import ConfigError

CONFIG = "tests/files/configs/nested.yaml"


@pytest.fixture
def opts(tiny_opts):
    """Of a training of four iterations that has come to the end of its second."""
    more = {
        "SOLVER.OPTIMIZER": "SGD",
        "SOLVER.MAX_ITER": 4,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.STEPS": "()",
        "DATASETS.TEST": "()",
    }
    opts = [*tiny_opts, *(str(word) for pair in more.items() for word in pair)]
    resumed(opts).train()
    folder = Path(opts[opts.index("OUTPUT_DIR") + 1])
    (folder / "model_0000003.pth").unlink()
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    return opts


def resumed(opts, *more):
    trainer = Trainer(build_config(CONFIG, [*opts, *map(str, more)]))
    trainer.resume_or_load(resume=True)
    return trainer


def momentum_of(trainer):
    """The optimizer's state by the name of the weight."""
    optimizer = trainer.optimizer
    weights = [x for group in optimizer.param_groups for x in group["params"]]
    names = optimizer_names(trainer.model, optimizer)
    return {n: optimizer.state[x]["momentum_buffer"] for n, x in zip(names, weights)}


def test_what_the_solver_is_told_is_what_it_does(opts):
    before = resumed(opts)
    changes = {"BASE_LR": 0.5, "WEIGHT_DECAY": 0.25, "WEIGHT_DECAY_NORM": 0.125, "MOMENTUM": 0.75}
    words = [word for key, x in changes.items() for word in (f"SOLVER.{key}", x)]
    after = resumed(opts, *words, "SOLVER.STEPS", "(1,)", "SOLVER.GAMMA", 0.5)
    assert after.start_iter == before.start_iter == 2
    groups = after.optimizer.param_groups
    # the step was to be before the checkpoint, so that the first iteration has it already
    assert {group["lr"] for group in groups} == {0.25}
    assert {group["weight_decay"] for group in groups} == {0.25, 0.125}
    assert {group["momentum"] for group in groups} == {0.75}
    after.train()
    assert [x for x, _ in after.storage.history("lr").values()] == [0.25, 0.25]


def test_weights_keep_their_momentum_where_the_groups_change(opts):
    before = resumed(opts)
    after = resumed(opts, "SOLVER.WEIGHT_DECAY_NORM", 0.125, "SOLVER.WEIGHT_DECAY_BIAS", 0.0)
    sizes = [
        [len(group["params"]) for group in trainer.optimizer.param_groups]
        for trainer in (before, after)
    ]
    assert sizes[0] != sizes[1]
    ours, theirs = momentum_of(after), momentum_of(before)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_checkpoint_from_before_names_were_kept(opts, tmp_path):
    file = tmp_path / "output" / "model_0000001.pth"
    checkpoint = torch.load(file, weights_only=True)
    del checkpoint["trainer"]["optimizer_names"]
    torch.save(checkpoint, file)
    assert momentum_of(resumed(opts, "SOLVER.BASE_LR", 0.5))
    with pytest.raises(ConfigError, match="WEIGHT_DECAY_BIAS.* changed since it was saved"):
        resumed(opts, "SOLVER.WEIGHT_DECAY_BIAS", 0.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("SEED", 3), "SEED is 3, and the training began with 0.*set SEED 0, or begin anew"),
        (("SOLVER.OPTIMIZER", "AdamW"), "its optimizer is SGD.*set SOLVER.OPTIMIZER SGD, or begin"),
    ],
)
def test_what_cannot_change_is_an_error(opts, words, message):
    with pytest.raises(ConfigError, match=message):
        resumed(opts, *words)
    # a seed that was drawn stays
    assert resumed(opts, "SEED", -1).data_loader.seed == 0
