"""A training that was killed ends with the weights of one that was left alone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils.env import seed_all_rng

from maskrcnnpp.engine import Trainer, build_config

CONFIG = "tests/files/configs/nested.yaml"
SCRIPT = Path(__file__).with_name("killed_training.py")


@pytest.fixture
def opts(tiny_opts):
    more = {
        "SOLVER.MAX_ITER": 12,
        "SOLVER.WARMUP_ITERS": 5,
        "SOLVER.STEPS": "(8,)",
        "SOLVER.CHECKPOINT_PERIOD": 3,
        "SOLVER.EMA_DECAY": 0.9,
        "SOLVER.ACCUMULATE": 2,
        "INPUT.AUGMENT.ROT90": True,
        "INPUT.AUGMENT.NOISE": "[0.0, 9.0]",
        "TEST.EVAL_PERIOD": 4,
        "TEST.LOSS": True,
        "TEST.BEST_METRIC": "validation/total_loss",
    }
    return [*tiny_opts, *(str(word) for pair in more.items() for word in pair)]


def trained(opts, **changes):
    words = [str(word) for pair in changes.items() for word in pair]
    cfg = build_config(CONFIG, [*opts, *words])
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return trainer


def weights(folder, name="model_final"):
    return torch.load(Path(folder, f"{name}.pth"), weights_only=True)


def assert_same(a, b, path=""):
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for key, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{path}/{key}")
    else:
        assert a == b, path


def test_killed_at_any_moment(opts, tiny_nuclei, tmp_path):
    metadata = MetadataCatalog.get(tiny_nuclei)
    about = [metadata.json_file, metadata.image_root, tiny_nuclei, CONFIG, *opts]
    about += ["OUTPUT_DIR", str(tmp_path / "killed"), "DATALOADER.NUM_WORKERS", "1"]
    places = [
        ("before", 2),  # before any checkpoint
        ("while saving", 5),
        ("while evaluating", 7),
        ("after", 10),
    ]
    for place, iteration in places:
        command = [sys.executable, str(SCRIPT), place, str(iteration), *about]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    command = [sys.executable, str(SCRIPT), "never", "0", *about]
    subprocess.run(command, check=True, capture_output=True)
    trained([*opts, "OUTPUT_DIR", str(tmp_path / "alone")])
    for name in ("model_final", "model_0000011", "model_best"):
        assert_same(weights(tmp_path / "killed", name), weights(tmp_path / "alone", name))
