"""What is left of a conversion that is killed, and of one whose worker dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dsb2018_source import good_files, write_source

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.base import decode_all
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.errors import DataError

# a conversion whose workers never end; each says that it began
SCRIPT = """
import os, signal, sys
from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.readers.base import decode_all
from maskrcnnpp.errors import exit_on_user_error

def decode(files, entry):
    os.write(1, b"x")
    signal.pause()

with exit_on_user_error(), CocoDatasetWriter(sys.argv[2], info={}):
    list(decode_all(sys.argv[1], decode, ["a", "b"], 2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_conversion_leaves_no_worker_behind(tmp_path, number):
    output = tmp_path / "out"
    words = [sys.executable, "-c", SCRIPT, str(tmp_path), str(output)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path.cwd()) as run:
        assert run.stdout.read(2) == b"xx"
        (staging,) = output.iterdir()
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        if number == signal.SIGTERM:  # a real decoder ends, these do not
            run.send_signal(number)
            for child in children:
                os.kill(int(child), signal.SIGKILL)
        else:
            run.send_signal(number)
        out, _ = run.communicate(timeout=60)  # the pipe closes when the last worker ends
    assert out == b""
    if number == signal.SIGTERM:
        assert run.returncode == 143 and not output.exists()
        return
    assert staging.is_dir()
    with CocoDatasetWriter(output, info={}) as writer:  # the next one tidies up
        assert not staging.exists()
        (own,) = output.iterdir()
        with CocoDatasetWriter(output, info={}):  # but not what is in use
            assert own.is_dir() and len(list(output.iterdir())) == 2
        assert writer.output == output


def _die(files, entry):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies(tmp_path):
    with pytest.raises(DataError, match="was ended from outside, perhaps since the memory is full"):
        list(decode_all(str(tmp_path), _die, ["a", "b"], 2))


def test_a_reader_goes_on_as_before(tmp_path):
    source = write_source(tmp_path, good_files("ab"), "zip")
    assert len(list(Dsb2018Reader(source, ProblemLog()).read(workers=2))) == 2
