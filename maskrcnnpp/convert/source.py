"""Reading the files of a folder or of a zip archive alike, without unpacking."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from maskrcnnpp.errors import DataError

_LARGEST_MEMBER = 2**30  # bytes: what is larger in an archive may be there to fill the memory
# of these zipfile unpacks no more than the archive says
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class FileSource:
    """The files below a folder, or in a zip archive.

    Files are only ever read by their name in the source; nothing is written by it.

    Args:
        path: folder or zip archive.

    Raises:
        DataError: ``path`` does not exist, or is a file that is not a whole zip archive.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            return
        if not self.path.exists():
            raise DataError(f"{self.path}: does not exist; check the path")
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(
                f"{self.path}: not a zip archive, or cut short ({error}); fetch the file again, "
                "or name the folder it was unpacked into"
            ) from error

    def files(self) -> list[str]:
        """Names of all files, relative, with "/" between the parts; as stored, unchecked.

        Links to folders are followed. Hidden files of a folder are left out, those of an archive
        not.

        Raises:
            DataError: a folder cannot be listed, or a link leads nowhere.
        """
        if self._zip is not None:
            return [info.filename for info in self._zip.infolist() if not info.is_dir()]
        return list(_walk(os.fspath(self.path), "", frozenset()))

    def read(self, name: str) -> bytes:
        """The whole file ``name``.

        Raises:
            DataError: it cannot be read, or its checksum in the archive is wrong. The message
                holds the reason only; the caller knows the name.
        """
        try:
            if self._zip is None:
                return (self.path / name).read_bytes()
            about = self._zip.getinfo(name)
            if about.file_size > _LARGEST_MEMBER:
                raise DataError(
                    f"would unpack to {about.file_size / 2**30:.1f} GiB, and "
                    f"{_LARGEST_MEMBER // 2**30} GiB is the most; unpack the archive yourself"
                )
            if about.compress_type not in _BOUNDED:
                raise DataError(
                    "is packed in a way that may fill the memory; unpack the archive yourself"
                )
            return self._zip.read(name)
        except MemoryError as error:
            raise DataError("needs more memory than there is; unpack it, or cut it") from error
        # NotImplementedError and RuntimeError: unknown compression, encrypted archives
        except (
            OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError,
        ) as error:  # fmt: skip
            raise DataError(f"cannot be read ({error})") from error

    @property
    def checks_sums(self) -> bool:
        """Whether :meth:`read` notices changed bytes: archives hold a checksum of every file."""
        return self._zip is not None

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _walk(folder: str, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """Names of the files below ``folder``, each after ``prefix``.

    ``above`` holds the folders on the way here, without links: a link to one of them would lead
    round in circles, and what it leads to is listed already.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as scan:
            names = [entry.name for entry in scan if not is_hidden(entry.name)]
    except OSError as error:
        raise DataError(
            f"{folder}: the folder cannot be listed ({error.strerror}); make it readable, or move "
            "it out of the source"
        ) from error
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from _walk(path, f"{prefix}{name}/", above | {real})
        elif os.path.exists(path) or os.path.splitext(name)[1]:
            yield prefix + name
        else:  # no file, so that nobody would miss it: perhaps the folder of an image
            raise DataError(f"{path}: the link leads nowhere; mend or remove it")


def is_hidden(name: str) -> bool:
    """Whether a file is an operating system's by-product: dot files, ``__MACOSX``."""
    # of text and no path: there may be a file for every object
    parts = name.split("/")
    return any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in parts)
