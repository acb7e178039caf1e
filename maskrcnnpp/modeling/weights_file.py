"""Files of weights, read without running code that may be in them."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from typing import Any, BinaryIO

import torch

from maskrcnnpp.errors import ConfigError

_BLOCK = 2**22  # bytes read at a time

# what arrays and texts need that NumPy pickled, in its old and new names, from Python 2 on
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}


class _ArraysOnly(pickle.Unpickler):
    """Makes arrays, numbers, texts, lists and dicts, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which is neither an array nor a number; do not trust it"
            )
        return super().find_class(module, name)


def read_pickle(file: BinaryIO) -> Any:
    """A pickle of arrays, as Detectron2's model zoo has them.

    Raises:
        pickle.UnpicklingError: it is damaged, or holds anything else. Nothing of it was run.
    """
    try:
        return _ArraysOnly(file, encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # of damaged ones, which end in anything
        raise pickle.UnpicklingError(f"it is no pickle, or damaged ({error})") from error


def read_torch(path: str | os.PathLike, *, mmap: bool = False) -> Any:
    """What ``torch.save`` wrote, on the CPU. Nothing of it is run.

    Numbers are compared with the checksums that PyTorch keeps in the file, and does not look at.

    Args:
        mmap: leave the numbers in the file until they are looked at.

    Raises:
        ConfigError: it is missing, damaged or cut short, or holds more than weights.
    """
    try:
        if damaged := _damaged_part(path):
            raise ConfigError(
                f"{path} is damaged: its part {damaged} is not what was written; fetch or copy the "
                "file again, or take another checkpoint"
            )
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (ConfigError, MemoryError):
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # of damaged ones, which end in anything
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise ConfigError(f"{path} is no checkpoint of a training: {reason}") from error


def _damaged_part(path: str | os.PathLike) -> str:
    """The first entry of the zip archive that differs from its checksum; empty if there is none.

    Files of PyTorch's older format, which is not a zip archive, have no checksums.
    """
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        damaged = [name for name in names if not _is_whole(archive, name)]
    # PyTorch can be told to leave out the checksums: then none is right
    return damaged[0] if 0 < len(damaged) < len(names) else ""


def _is_whole(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as entry:
            while entry.read(_BLOCK):
                pass
    except (EOFError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error):
        return False
    return True
