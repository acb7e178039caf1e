"""One command at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import portalocker

from maskrcnnpp.errors import OutputError, UserError

logger = logging.getLogger(__name__)

#: Name of the file in a folder that a command is using.
LOCK_FILE = ".lock"
_HOW = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
_LOOK = portalocker.LockFlags.SHARED | portalocker.LockFlags.NON_BLOCKING
# of file systems without locks, such as some network drives
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: str | os.PathLike, name: str = LOCK_FILE) -> Iterator[None]:
    """Keep other commands out of a folder that this one writes to; it is made as needed.

    The lock is the operating system's: it ends with the process, however that ends.

    Args:
        name: of the file that is locked; begins with :data:`LOCK_FILE`. Commands that share a
            folder have one each, and look at those of others with :func:`check_not_in_use`.

    Raises:
        UserError: another command is using the folder.
        OutputError: the folder cannot be made or written to.
    """
    path = Path(folder, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked(path)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # of Windows, where an open file stays
            path.unlink()  # as long as it is locked: nobody else can have it yet
        file.close()


def check_not_in_use(lock: Path) -> None:
    """Check that no command holds a lock file of :func:`locked`, which need not be there.

    Raises:
        UserError: one does.
    """
    try:
        with open(lock, encoding="utf-8") as file:
            try:
                portalocker.lock(file, _LOOK)
            except portalocker.LockException as error:
                if _errno(error) not in _NO_LOCKS:
                    raise _in_use(lock, file) from error
    except FileNotFoundError:
        pass


def is_left_behind(folder: str | os.PathLike) -> bool:
    """Whether the process that had locked a folder ended without removing it.

    False where that is not sure.
    """
    try:
        with open(Path(folder, LOCK_FILE), "rb") as file:
            portalocker.lock(file, _HOW)
            return True
    except (OSError, portalocker.LockException):  # in use, or not of this kind
        return False


def _open_locked(path: Path) -> TextIO:
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            portalocker.lock(file, _HOW)
        except portalocker.LockException as error:
            if _errno(error) not in _NO_LOCKS:
                told = _in_use(path, file)
                file.close()
                raise told from error
            logger.warning(
                "%s is on a drive that cannot lock files: see to it that no other command uses it",
                path.parent,
            )
            return file
        if _is_at(file, path):
            break
        file.close()  # the command before removed it in this very moment
    if hasattr(os, "register_at_fork"):
        # a process that loads images would keep the lock of a killed training for some seconds
        os.register_at_fork(after_in_child=file.close)
    file.truncate(0)
    file.write(f"{os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _errno(error: portalocker.LockException) -> int | None:
    return getattr(error.args[0], "errno", None) if error.args else None


def _in_use(path: Path, file: TextIO) -> UserError:
    return UserError(
        f"{path.parent} is in use{_owner(file)}: one command at a time can write to it; wait for "
        "that one, or choose another folder"
    )


def _owner(file: TextIO) -> str:
    try:
        file.seek(0)
        return f" by process {text}" if (text := file.read(200)) else ""
    except OSError:  # of Windows, where a locked file cannot be read
        return ""


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
