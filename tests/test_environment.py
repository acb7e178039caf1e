import os
import subprocess

from maskrcnnpp import environment


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
