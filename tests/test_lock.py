"""One command at a time in a folder."""

import os
import signal
import subprocess
import sys

import portalocker
import pytest

from maskrcnnpp.errors import OutputError, UserError
from maskrcnnpp.lock import LOCK_FILE, locked

HOLDER = """
import os, sys
from maskrcnnpp.lock import locked
with locked(sys.argv[1]):
    has_copy = len(sys.argv) > 2
    is_copy = has_copy and os.fork() == 0
    if is_copy or not has_copy:  # the copy says so, once it has let go of the lock
        print("locked", flush=True)
    sys.stdin.read()
    if is_copy:  # a process that works for the other, and outlives it
        os._exit(0)
"""


def holder(folder, *words):
    """A process that holds the lock until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder), *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    return process


def test_another_process_is_kept_out(tmp_path):
    folder = tmp_path / "new" / "output"
    process = holder(folder)
    with (
        pytest.raises(UserError, match=f"output is in use by process {process.pid} on ") as told,
        locked(folder),
    ):
        pass
    assert "one command at a time" in str(told.value)
    process.communicate("")
    assert process.returncode == 0 and not list(folder.iterdir())
    with locked(folder):
        assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    assert not list(folder.iterdir())


@pytest.mark.parametrize("words", [(), ("with a copy",)])
def test_the_lock_of_a_killed_process_is_gone(tmp_path, words):
    process = holder(tmp_path, *words)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / LOCK_FILE).exists()
    with locked(tmp_path):
        pass
    process.stdin.close()


def test_one_that_is_removed_while_it_is_waited_for(tmp_path, monkeypatch):
    """The command before removes the file between opening and locking it: nobody has that one."""
    lock, removed = portalocker.lock, []

    def late(file, flags):
        if not removed:
            removed.append(1)
            (tmp_path / LOCK_FILE).unlink()
        lock(file, flags)

    monkeypatch.setattr(portalocker, "lock", late)
    with (
        locked(tmp_path),
        pytest.raises(UserError, match=f"by process {os.getpid()}"),
        locked(tmp_path),
    ):
        pass


def test_a_drive_without_locks_is_used_all_the_same(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise portalocker.LockException(OSError(37, "No locks available"))

    monkeypatch.setattr(portalocker, "lock", refuse)
    with locked(tmp_path):
        assert "cannot lock files" in caplog.text


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="file.* cannot be written to"), locked(folder):
            pass
