"""train_net.py --profile and --find-lr."""

import json

import cv2
import pytest

from maskrcnnpp.commands.arguments.train import argument_parser
from maskrcnnpp.engine import lr_finder
from maskrcnnpp.engine.main import run

CONFIGS = {
    "stock": "tests/files/configs/stock.yaml",
    "nested": "tests/files/configs/nested.yaml",
}


def ask(opts, *words, config="nested"):
    args = argument_parser().parse_args(["--config-file", CONFIGS[config], *words, *opts])
    return run(args)


@pytest.mark.parametrize("config", sorted(CONFIGS))
def test_the_parts_of_an_iteration(tiny_opts, tmp_path, capsys, config):
    assert ask(tiny_opts, "--profile", "3", config=config) is None
    folder = tmp_path / "output"
    assert sorted(path.name for path in folder.iterdir()) == ["profile.json", "profile.md"]
    assert (folder / "profile.md").read_text() in capsys.readouterr().out
    parts = json.loads((folder / "profile.json").read_text())["parts"]
    known = {"encoder", "RPN", "box head", "mask head", "backward", "optimizer", "iteration"}
    assert known <= parts.keys() and ("grid" in parts) == (config == "nested")
    assert all(seconds > 0 for seconds in parts.values())
    assert sum(parts.values()) - parts["iteration"] < 1.5 * parts["iteration"]


def test_rates_rise_until_the_loss_explodes(tiny_opts, tmp_path, capsys):
    assert ask(tiny_opts, "--find-lr", "12") is None
    folder = tmp_path / "output"
    assert sorted(path.name for path in folder.iterdir()) == ["find_lr.json", "find_lr.png"]
    found = json.loads((folder / "find_lr.json").read_text())
    assert len(found["rates"]) == len(found["losses"]) <= 12
    assert found["rates"] == sorted(found["rates"]) and found["rates"][0] == pytest.approx(1e-6)
    assert cv2.imread(str(folder / "find_lr.png")).std() > 5
    assert "find_lr.png" in capsys.readouterr().out


def test_the_steepest_descent_is_suggested():
    rates = [10.0**k for k in range(-6, 3)]
    smooth = [5.0, 5.0, 4.8, 3.0, 2.5, 2.4, 2.6, 9.0, 30.0]
    assert lr_finder._suggested(rates, smooth) == 10.0**-3
    assert lr_finder._suggested(rates, sorted(smooth)) is None
    assert lr_finder._suggested([], []) is None
    assert lr_finder._smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])


@pytest.mark.parametrize("words", [["--profile", "0"], ["--dry-run", "--profile", "3"]])
def test_what_cannot_be_asked(words, capsys):
    with pytest.raises(SystemExit):
        argument_parser().parse_args(words)
    assert "below 1" in capsys.readouterr().err or "--dry-run" in words
