"""The command ``maskrcnnpp``: its commands, and that the scripts of a checkout are the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnnpp import cli
from maskrcnnpp.version import __version__

SCRIPTS = [path for folder in ("tools", "datasets") for path in Path(folder).glob("*.py")]


def module_of(name):
    return name.replace(" ", "_").replace("-", "_")


def test_every_command_has_its_two_modules_and_a_script():
    names = {module_of(name) for name in cli.COMMANDS}
    for folder in ("commands", "commands/arguments"):
        modules = {path.stem for path in Path("maskrcnnpp", folder).glob("*.py")}
        assert modules - {"__init__"} == names
    called = {
        word for path in SCRIPTS for word in path.read_text().split('"') if word in cli.COMMANDS
    }
    assert called == set(cli.COMMANDS) and len(SCRIPTS) == len(names)


def test_the_overview_names_all_and_imports_nothing_slow():
    code = "import sys, runpy; sys.argv = ['maskrcnnpp', '--help']\n"
    code += "try: runpy.run_module('maskrcnnpp', run_name='__main__')\n"
    code += "finally: print({'torch', 'numpy', 'detectron2', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("set()"), done.stderr
    assert all(f"\n  {name} " in done.stdout for name in cli.COMMANDS)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"maskrcnnpp {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["xyz"], "there is no command 'xyz'; maskrcnnpp --help lists them all"),
        (["prepare"], "followed by one of these: prepare dsb2018, prepare isbi-em"),
        (["prepare", "coco"], "followed by one of these: prepare dsb2018"),
        (["predict"], "usage: maskrcnnpp predict "),
        (["prepare", "synthetic", "--count"], "usage: maskrcnnpp prepare synthetic "),
    ],
)
def test_what_is_no_command_ends_with_a_hint(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_without_a_command_the_overview_is_shown(capsys):
    assert cli.main([]) == 2
    assert "maskrcnnpp COMMAND --help" in capsys.readouterr().out


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("maskrcnnpp.commands.export.run", interrupted)
    words = ["--annotations", "a", "--images", "b", "--output", "c", "--format", "csv"]
    assert cli.main(["export", *words]) == 130
    assert capsys.readouterr().err == "stopped\n"
