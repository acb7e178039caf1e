"""Errors that are written for the person at the keyboard, not for a debugger."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

#: What shells say of a program that Ctrl-C ended.
CTRL_C_STATUS = 128 + 2


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do."""

    #: Of a command that ends with it.
    exit_status = 2


class DataError(UserError):
    """An input file is missing, unreadable or inconsistent. The message names the file."""


class OutputError(DataError):
    """An output cannot be written. The message names the file."""


class ConfigError(UserError, ValueError):
    """A config value is unknown or impossible. The message names the key."""


class VersionError(UserError, ImportError):
    """A package is too old. The message names both versions and what to do."""


class MissingPackage(UserError, ImportError):
    """A package is not installed. The message names it and says how to install it."""


class TrainingStopped(UserError):
    """A training was told to stop before its end. The message says how to go on."""

    exit_status = 128 + 15  # what shells say of a program that SIGTERM ended

    def __init__(self, message: str, exit_status: int = exit_status) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class DivergedError(UserError, FloatingPointError):
    """A training's loss is not finite, or exploded. The message says where and what to do."""


def printable(text: object) -> str:
    """Text that a terminal shows and does not obey: names of files may hold its commands.

    All that is not a visible character, space or new line becomes an escape, such as ``\\x1b``.
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii")
        for c in str(text)
    )


def first_line(error: BaseException) -> str:
    """First line of the message of another package's error; its type if there is no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End a command with the message and exit status of a :class:`UserError`, 2 but for few.

    So too where a file may not be read or written. Any other exception keeps its traceback: it is a
    fault of this project. SIGTERM ends it as Ctrl-C does, so that nothing half-written stays.
    """
    with _exit_on_sigterm():
        try:
            yield
        except UserError as error:
            print(f"error: {printable(error)}", file=sys.stderr)
            sys.exit(error.exit_status)
        except PermissionError as error:
            if error.filename is None:
                raise
            print(f"error: {printable(error.filename)}: {error.strerror}", file=sys.stderr)
            sys.exit(UserError.exit_status)


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield  # Python lets no other thread take signals, and what is set already stays
        return
    owner = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() != owner:  # in a copy of this process that works for it
            os._exit(TrainingStopped.exit_status)
        sys.exit(TrainingStopped.exit_status)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
