import errno
import json
import os
import subprocess
import sys

import pytest

from maskrcnnpp.errors import OutputError
from maskrcnnpp.files import PARTIAL, atomic_path, remove_partial, write_json_list, write_text


@pytest.mark.parametrize("items", [[], [1], [{"a": "ä\n"}, None, [2.5]]])
def test_a_list_is_written_an_item_at_a_time(tmp_path, items):
    path = tmp_path / "new" / "a.json"
    write_json_list(path, iter(items))
    assert json.loads(path.read_text(encoding="utf-8")) == items
    write_json_list(path, iter(items), member="entries")
    assert json.loads(path.read_text(encoding="utf-8")) == {"entries": items}
    write_json_list(path, iter(items), member="entries", around={"type": "T"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"type": "T", "entries": items}


def test_a_list_that_breaks_off_leaves_the_former_file(tmp_path):
    write_json_list(tmp_path / "a.json", [1, 2])

    def broken():
        yield 3
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_json_list(tmp_path / "a.json", broken())
    assert json.loads((tmp_path / "a.json").read_text()) == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="a.json cannot be written"),
        atomic_path(tmp_path / "file" / "a.json"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_named_and_leaves_the_former_file(tmp_path, number):
    path = tmp_path / "a.json"
    path.write_text("before")
    message = f"a.json cannot be written: {os.strerror(number)}"
    with pytest.raises(OutputError, match=message), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.json" / "b").mkdir(parents=True)
    with pytest.raises(OutputError, match="a.json cannot be written: Is a directory"):
        write_text(tmp_path / "a.json", "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: order.append("content") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *paths: order.append("name") or replace(*paths))
    write_text(tmp_path / "a.txt", "a")
    assert order == ["content", "name"]
    monkeypatch.setattr(os, "fsync", lambda file: _raise(errno.ENOSPC))
    with pytest.raises(OutputError, match="a.txt cannot be written: No space"):
        write_text(tmp_path / "a.txt", "b")
    monkeypatch.setattr(os, "fsync", lambda file: _raise(errno.EINVAL))
    write_text(tmp_path / "a.txt", "c")
    assert (tmp_path / "a.txt").read_text() == "c"


def _raise(number):
    raise OSError(number, os.strerror(number))


def test_what_a_killed_command_left_is_removed(tmp_path):
    for name in (f"{PARTIAL}a.json", "b.json", ".hidden"):
        (tmp_path / name).write_text("")
    (tmp_path / f"{PARTIAL}folder").mkdir()
    remove_partial(tmp_path)
    left = [".hidden", f"{PARTIAL}folder", "b.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


TERMINATED = """
import os, signal, sys
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.files import atomic_path
with exit_on_user_error(), atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_sigterm_leaves_nothing_half_written(tmp_path):
    command = [sys.executable, "-c", TERMINATED, str(tmp_path / "a.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 143 and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
