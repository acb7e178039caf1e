"""The command export-model, as docs/how-to/export.md shows it."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from maskrcnnpp import cli
from maskrcnnpp.exporting import FORMATS, Session
from maskrcnnpp.exporting.export import ABOUT_VERSION

PAGE = Path("docs/how-to/export.md").read_text()


@pytest.fixture
def run_folder(tiny_cfg, tmp_path, monkeypatch):
    """A folder with what a training of the config in the docs leaves; it is the current one."""
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    folder = tmp_path / "output/my_set"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": build_model(tiny_cfg).state_dict()}, folder / "model_final.pth")
    monkeypatch.chdir(tmp_path)
    return folder


def blocks() -> list[str]:
    """Commands and code of the page."""
    return re.findall(r"^```(?:sh|python)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_page_works(run_folder, capsys):
    (command, *code) = blocks()
    program, *words = shlex.split(command.replace("\\\n", ""))
    assert program == "maskrcnnpp"
    assert cli.main(words) == 0
    assert "exported/model.onnx: " in capsys.readouterr().out
    scope = {}
    for block in code:
        exec(block, scope)
    assert scope["masks"].shape == (len(scope["scores"]), 28, 28)
    assert len(scope["found"]["scores"]) == len(scope["scores"])
    assert "nucleus" in capsys.readouterr().out


def test_the_page_names_what_there_is(run_folder):
    model = ["--config-file", str(run_folder / "config.yaml")]
    model += ["--weights", str(run_folder / "model_final.pth")]
    cli.main(
        ["export-model", *model, "--output", "m.ts", "--format", "torchscript", "--depth", "2"]
    )
    about = Session("m.ts").about
    assert about["depth"] == 2
    assert not [key for key in about if f"`{key}`" not in PAGE]
    assert not [name for name in FORMATS if f"| `{name}`" not in PAGE]
    assert f"`about_version` | {ABOUT_VERSION};" in PAGE


def test_errors_are_for_the_reader(run_folder, capsys):
    words = ["--config-file", str(run_folder / "config.yaml"), "--output", "out"]
    words += ["--weights", str(run_folder / "model_final.pth")]
    for more, message in (
        (["--format", "tflite"], "the format is 'tflite'"),
        (["--depth", "9"], "cannot be pruned to depth 9: choose 1..3"),
        (["MODEL.MASK_ON", "False"], "cannot be exported: set MODEL.MASK_ON"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["export-model", *words, *more])
        assert ended.value.code == 2 and message in capsys.readouterr().err
    assert not Path("out").exists()
