import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from maskrcnnpp import environment
from maskrcnnpp.errors import UserError
from maskrcnnpp.version import OLDEST_TORCH


def test_the_commit_says_when_files_differ_from_it(tmp_path, monkeypatch):
    package = tmp_path / "maskrcnnpp"
    package.mkdir()
    monkeypatch.setattr(environment.maskrcnnpp, "__file__", str(package / "__init__.py"))
    assert environment.commit() == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "configs").mkdir()
    for path in (package / "__init__.py", tmp_path / "configs" / "a.yaml", tmp_path / "README.md"):
        path.write_text("")
    subprocess.run([*git, "init", "-q"], check=True)
    assert environment.commit() == ""  # a checkout that does not know the package
    for words in (["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    clean = environment.commit()
    assert len(clean) >= 7 and not clean.endswith("+")
    (tmp_path / "README.md").write_text("changed")
    assert environment.commit() == clean
    (tmp_path / "configs" / "a.yaml").write_text("changed")
    assert environment.commit() == clean + "+"


def test_machine_and_versions_are_named():
    assert all(environment.machine().values())
    assert environment.versions()["torch"].startswith(__import__("torch").__version__)


def test_the_bound_of_the_convolution_cache_can_be_set(monkeypatch):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    for before, after in ((None, "32"), ("7", "7")):
        monkeypatch.delenv(name, raising=False)
        if before:
            monkeypatch.setenv(name, before)
        environment.bound_convolution_cache()
        assert os.environ[name] == after


@pytest.mark.parametrize("version", ["2.0.1", "2.5.1+cu124"])
def test_a_torch_that_cannot_train_is_named(monkeypatch, version):
    monkeypatch.setattr("torch.__version__", version)
    message = f"PyTorch {OLDEST_TORCH} or newer, and {version} is".replace("+", "[+]")
    with pytest.raises(ImportError, match=message) as caught:
        environment.check_torch()
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("version", ["2.6.0", "2.6.0a0+ecf3bae40a.nv25.01", "2.14.1+cpu", "3.0"])
def test_a_torch_that_can(monkeypatch, version):
    monkeypatch.setattr("torch.__version__", version)
    environment.check_torch()


def test_the_trainer_does_not_import_with_an_old_torch():
    code = "import torch; torch.__version__ = '2.5.1'; import maskrcnnpp; import maskrcnnpp.engine"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "PyTorch 2.6 or newer, and 2.5.1 is" in done.stderr


def test_a_package_that_is_missing_is_named():
    code = "import sys; sys.modules['cv2'] = None; from maskrcnnpp import cli; "
    for words, extra in ((["predict", "a", "--output", "b"], ""), (["train"], "[train]")):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}cli.main({words})"], capture_output=True, text=True
        )
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        message = f"{words[0]} needs cv2, which is not installed: pip install 'maskrcnnpp{extra}'"
        assert message in done.stderr


def pinned(python):
    """Versions of constraints.txt for a version of Python."""
    lines = Path("constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    environments = [
        r for r in found if not r.marker or r.marker.evaluate({"python_version": python})
    ]
    return {r.name: next(iter(r.specifier)).version for r in environments}


def test_constraints_suit_detectron2_and_old_python():
    assert Version(pinned("3.11")["setuptools"]) < Version("81")  # detectron2.model_zoo
    assert "imageio" in pinned("3.11") and "imageio" not in pinned("3.10")
    assert Version(pinned("3.11")["torch"]) >= Version(OLDEST_TORCH)
