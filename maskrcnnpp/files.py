"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnnpp.errors import OutputError
from maskrcnnpp.lock import is_left_behind, locked

#: What names of files begin with while they are written; one that was killed leaves them behind.
PARTIAL = ".partial-"
# what the operating system says of writing and of nothing else
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# of file systems that cannot be told to write now
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    When the block raises, the temporary file is removed and whatever stood at ``path`` before
    is left untouched. Parent folders are made as needed. The content is on the disk before the
    name is: a power cut leaves no empty file.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL, suffix=path.suffix)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        with output_errors(path):
            yield temporary
        try:
            # mkstemp makes private files; give the result the permissions of an ordinary one
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            _sync(temporary)
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """:func:`atomic_path` for a folder: yield an empty one that becomes ``path`` at the end.

    Raises:
        OutputError: it cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with output_errors(path), staging_folder(path.parent, ".unfinished-") as staging:
            (new := staging / path.name).mkdir()
            yield new
            if path.exists():
                os.replace(path, staging / ".former")
            os.replace(new, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def remove(path: str | os.PathLike) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    path = Path(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_and_time(path: str | os.PathLike) -> tuple[int, int]:
    """Bytes of a file, or of all in a folder, and when it last changed, nanoseconds.

    Raises:
        OSError: it is not there.
    """
    path = Path(path)
    found = [path.stat()]
    if path.is_dir():
        found += [entry.stat() for entry in path.rglob("*")]
        sizes = sum(status.st_size for status in found if stat.S_ISREG(status.st_mode))
        return sizes, max(status.st_mtime_ns for status in found)
    return found[0].st_size, found[0].st_mtime_ns


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


@contextlib.contextmanager
def output_errors(path: str | os.PathLike) -> Iterator[None]:
    """Name what is written where the disk is full or read-only.

    Args:
        path: the file, or the folder of several.

    Raises:
        OutputError: so it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_WRITING:
            raise
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def remove_partial(folder: str | os.PathLike) -> None:
    """Remove what a command that was killed was writing into a folder.

    Args:
        folder: one that no other command is using, see :func:`maskrcnnpp.lock.locked`.
    """
    for path in Path(folder).glob(f"{PARTIAL}*"):
        if path.is_file():  # folders are of converters, which may be at work
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def staging_folder(parent: str | os.PathLike, prefix: str) -> Iterator[Path]:
    """Yield a new folder in ``parent``, which is removed at the end of the block if still there.

    Its process holds a lock in it, so that a later one can remove what a killed one left behind,
    and nothing that is in use.

    Args:
        parent: a folder.
        prefix: of the name.

    Raises:
        OSError: it cannot be made.
    """
    for old in Path(parent).glob(f"{prefix}*"):
        if is_left_behind(old):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def staged_folder(output: str | os.PathLike, names: Sequence[str]) -> Iterator[Path]:
    """Yield a temporary folder inside ``output``, for :func:`swap_in`, with empty folders.

    It is removed at the end of the block, and so is ``output`` if it was made here and is empty.

    Args:
        output: a folder; made when missing.
        names: of the folders in the temporary one.

    Raises:
        OutputError: ``output`` cannot be written to.
    """
    output = Path(output)
    is_new = not output.exists()
    with contextlib.ExitStack() as stack:
        try:
            output.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(staging_folder(output, ".unfinished-"))
            for name in names:
                (folder / name).mkdir()
        except OSError as error:
            raise OutputError(
                f"{output}: cannot be written to ({error}); name another --output folder"
            ) from error
        try:
            yield folder
        finally:
            stack.close()
            if is_new and not any(output.iterdir()):
                output.rmdir()


def swap_in(staging: Path, output: str | os.PathLike, names: Sequence[str]) -> None:
    """Exchange the folders of ``output`` for those of :func:`staged_folder`, all or none.

    Raises:
        OutputError: they cannot be exchanged.
    """
    undo: list[tuple[Path, Path]] = []
    try:
        for name in names:
            new, place = staging / name, Path(output, name)
            moves = [(place, staging / f"old_{name}")] if place.exists() else []
            for source, target in [*moves, (new, place)]:
                # remembered first: an interrupt may come right after the rename
                undo.append((target, source))
                os.replace(source, target)
    except BaseException as error:
        for target, source in reversed(undo):
            if target.exists() and not source.exists():
                os.replace(target, source)
        if isinstance(error, OSError):
            raise OutputError(f"{output} cannot be replaced: {error.strerror}") from error
        raise


def escapes(name: str) -> bool:
    """Whether a name leads out of the folder or archive that it is of, on any system."""
    parts = name.replace("\\", "/").split("/")
    return parts[0] == "" or ".." in parts or parts[0][1:2] == ":"


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any, *, indent: int | None = None) -> None:
    """Write ``value`` as JSON to ``path`` atomically."""
    # dumps, not dump: several times as fast for the many small values of a results file
    write_text(path, json.dumps(value, indent=indent))


def write_json_list(
    path: str | os.PathLike,
    items: Iterable[Any],
    *,
    member: str | None = None,
    around: Mapping[str, Any] | None = None,
) -> None:
    """Write a JSON list atomically, an item at a time: it need not fit into memory.

    Args:
        path: of the file.
        items: of the list.
        member: name of the list in an object; None writes the list alone.
        around: the other members of that object.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        if member is not None:
            begin = json.dumps(dict(around or {}))[:-1]
            file.write(begin + (", " if around else "") + f"{json.dumps(member)}: ")
        file.write("[")
        for number, item in enumerate(items):
            file.write(("," if number else "") + "\n" + json.dumps(item))
        file.write("\n]" + ("}" if member is not None else ""))
