"""Errors that are written for the person at the keyboard, not for a debugger."""

from __future__ import annotations

import contextlib
import sys
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


class VersionError(UserError, ImportError):
    """A package is too old. The message names both versions and what to do."""


class TrainingStopped(UserError):
    """A training was told to stop before its end. The message says how to go on."""

    exit_status = 128 + 15  # what shells say of a program that SIGTERM ended


class DivergedError(UserError, FloatingPointError):
    """A training's loss is not finite, or exploded. The message says where and what to do."""


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End a command with the message and exit status of a :class:`UserError`, 2 but for few.

    Any other exception keeps its traceback: it is a fault of this project.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
