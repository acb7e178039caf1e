"""train_net.py --dry-run: says what a training would, and leaves nothing."""

import shutil

import pytest
from detectron2.data import DatasetCatalog

from maskrcnnpp.commands.arguments.train import argument_parser
from maskrcnnpp.engine.main import run
from maskrcnnpp.errors import ConfigError

CONFIG = "tests/files/configs/nested.yaml"


def dry_run(opts, *more):
    words = ["--config-file", CONFIG, "--dry-run", *opts, *map(str, more)]
    return run(argument_parser().parse_args(words))


def test_what_to_expect(tiny_opts, tmp_path, capsys):
    before = set(DatasetCatalog.list())
    more = ["SOLVER.MAX_ITER", 1000, "TEST.EVAL_PERIOD", 300, "TEST.BEST_METRIC", "segm/AP"]
    assert dry_run(tiny_opts, *more, "SOLVER.CHECKPOINT_PERIOD", 100) is None
    said = capsys.readouterr().out
    for words in ("8, 2 a batch", " s\n", "(8 images)", "evaluations         4\n", "GiB", "5 at"):
        assert words in said, words
    assert set(DatasetCatalog.list()) == before
    assert not list(tmp_path.glob("**/*.p*")) and not list(tmp_path.glob("*dry*"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["TEST.BEST_METRIC", "segm/mAP"], "BEST_METRIC is 'segm/mAP'.*it gives .*segm/AP"),
        (["MODEL.ROI_HEADS.NUM_CLASSES", 4], "NUM_CLASSES is 4"),
        (["MODEL.NESTED_FPN.DEPTH", 9], "DEPTH is 9"),
    ],
)
def test_what_a_training_would_end_with(tiny_opts, more, message):
    with pytest.raises(ConfigError, match=message):
        dry_run(tiny_opts, *more)


def test_a_disk_that_is_too_small(tiny_opts, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**7))
    with pytest.raises(ConfigError, match="checkpoints of .* MiB need .*CHECKPOINT_PERIOD"):
        dry_run(tiny_opts)
