"""Errors that are written for the person at the keyboard, not for a debugger."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator


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


class TrainingStopped(UserError):
    """A training was told to stop before its end. The message says how to go on."""

    exit_status = 128 + 15  # what shells say of a program that SIGTERM ended


class DivergedError(UserError, FloatingPointError):
    """A training's loss is not finite, or exploded. The message says where and what to do."""


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End a command with the message and exit status of a :class:`UserError`, 2 but for few.

    SIGTERM ends it as Ctrl-C does: what it began is removed, and its processes end. Any other
    exception keeps its traceback: it is a fault of this project.
    """
    try:
        with _exit_on_sigterm():
            yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Raise SystemExit on SIGTERM, unless something else takes it already."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a forked worker, which has nothing to tidy up
            os._exit(128 + number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
