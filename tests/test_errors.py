"""What a terminal is given to show."""

import errno
import sys

import pytest

from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.errors import DataError, exit_on_user_error, printable
from maskrcnnpp.inference.run import leave_out

HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.\r\x08.png"


def obeys(text: str) -> bool:
    return any(not letter.isprintable() for letter in text.replace("\n", ""))


def test_names_are_shown_and_not_obeyed(capsys):
    assert printable("Zelle ä 細胞.png\nb") == "Zelle ä 細胞.png\nb"
    assert printable("\x1b[2J") == "\\x1b[2J" and printable("\udcff") == "\\udcff"
    with pytest.raises(SystemExit), exit_on_user_error():
        raise DataError(f"{HOSTILE}: no image")
    leave_out(HOSTILE, f"{HOSTILE}: damaged\n2 of 2 images")
    shown = capsys.readouterr().err
    assert "\\x1b[2J" in shown and not obeys(shown)
    assert len(shown.splitlines()) == 2  # no name makes a line of its own


def test_what_may_not_be_read_is_named_without_a_traceback(capsys):
    with pytest.raises(SystemExit) as ended, exit_on_user_error():
        raise PermissionError(errno.EACCES, "Permission denied", f"out/{HOSTILE}")
    shown = capsys.readouterr().err
    assert ended.value.code == 2 and not obeys(shown)
    assert shown.startswith("error: out/a") and shown.endswith(": Permission denied\n")
    with pytest.raises(PermissionError), exit_on_user_error():
        raise PermissionError("of no file")


def test_problems_are_a_line_each():
    problems = ProblemLog(skip_bad=True)
    problems.add(Problem("image", "a", f"{HOSTILE}\nimage\tb", f"{HOSTILE} is bad"))
    for text in (problems.summary(), problems.lines()):
        assert not obeys(text.replace("\t", "")) and len(text.strip().splitlines()) <= 2
    assert problems.lines().count("\t") == 2
    with pytest.raises(DataError) as raised:
        ProblemLog.raise_unless_skipped(_strict(problems), "source")
    assert not obeys(str(raised.value))


def _strict(problems: ProblemLog) -> ProblemLog:
    strict = ProblemLog()
    strict.add(*problems.problems)
    return strict


def test_a_name_that_is_no_text_can_be_printed(capsys):
    name = b"\xff\xfe.png".decode(sys.getfilesystemencoding(), "surrogateescape")
    leave_out(name, f"{name}: damaged")
    assert "\\udcff" in capsys.readouterr().err
