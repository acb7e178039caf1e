"""Files of weights, read without running code that may be in them."""

from __future__ import annotations

import math
import os
import pickle
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

import numpy as np
import torch

from maskrcnnpp.errors import ConfigError

_NUMBERS = re.compile(r"[<>|=]?[?biufc][0-9]{0,2}")  # types of which memory holds numbers alone
_ORDERS = ("<", ">", "|", "=")
_KEYS = (str, bytes, int, float, type(None))  # of dicts; a deep tuple would exhaust the stack
_BLOCK = 2**22  # bytes read at a time


class _Stand:
    """Stand-in for a function or class of NumPy in a pickle, which the pickle cannot change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable | None = None) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        if self._call is None:
            raise pickle.UnpicklingError("it calls what makes arrays of memory that is not its own")
        return self._call(*args)


class _Type:
    """A type of numbers, made as NumPy pickles it. Of its state only the byte order counts."""

    __slots__ = ("dtype",)

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or not _NUMBERS.fullmatch(text):
            raise pickle.UnpicklingError(f"it holds an array of {text!r}, which is not a number")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order: Any = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in _ORDERS:
            raise pickle.UnpicklingError("it holds a type of numbers that is none")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array that is filled by its state, of numbers and of its own memory."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, content = state
        filled = _array(content, kind, shape, "F" if is_fortran else "C")
        state = (1, filled.shape, filled.dtype, bool(is_fortran), filled.tobytes("A"))
        super().__setstate__(state)


def _array(content: Any, kind: Any, shape: Any, order: Literal["C", "F"] = "C") -> np.ndarray:
    """A copy of the bytes as an array."""
    content = content.encode("latin1") if isinstance(content, str) else bytes(content)
    if not isinstance(kind, _Type) or order not in ("C", "F"):
        raise pickle.UnpicklingError("it holds an array that is none")
    shape = tuple(int(side) for side in shape)
    if min(shape, default=1) < 0 or math.prod(shape) * kind.dtype.itemsize != len(content):
        raise pickle.UnpicklingError(f"it holds an array of {shape} with {len(content)} bytes")
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order).copy(order)


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it holds bytes as {encoding!r}")
    return text.encode("latin1")


def _ordered(pairs: Any = ()) -> OrderedDict:
    pairs = [(key, value) for key, value in pairs]
    _check_keys([key for key, _ in pairs])
    return OrderedDict(pairs)


def _check_keys(keys: list) -> None:
    if not all(isinstance(key, _KEYS) for key in keys):
        raise pickle.UnpicklingError("it holds a dict with keys that are not text or numbers")


def _allowed() -> dict[tuple[str, str], Any]:
    """Stand-ins by name for what pickled NumPy arrays and texts need, from Python 2 on."""
    found: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): _Stand(_ordered),
        ("_codecs", "encode"): _Stand(_encode),
        ("numpy", "dtype"): _Stand(_Type),
        ("numpy", "ndarray"): _Stand(),  # named as what is to be made, and never called for it
    }
    for core in ("core", "_core"):
        module = f"numpy.{core}.multiarray"
        found[module, "_reconstruct"] = _Stand(lambda *_: np.empty(0, np.uint8).view(_Array))
        found[module, "scalar"] = _Stand(lambda kind, content: _array(content, kind, ())[()])
        found[f"numpy.{core}.numeric", "_frombuffer"] = _Stand(_array)
    return found


# written in Python, which is slower than the one in C and not led astray by wrong numbers. Any: the
# types of the standard library leave out the methods that are overridden here
_Unpickler: Any = pickle._Unpickler


class _ArraysOnly(_Unpickler):
    """Makes arrays, numbers, texts, lists and dicts, and nothing else."""

    dispatch = dict(_Unpickler.dispatch)
    for _code in (
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.PERSID),
        *(pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER),
        *(pickle.READONLY_BUFFER, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    ):
        del dispatch[_code[0]]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _allowed()[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which is neither an array nor a number; do not trust it"
            ) from None

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], (_Array, _Type)):
            raise pickle.UnpicklingError("it holds an object that is not an array")
        super().load_build()

    def load_reduce(self) -> None:
        if not isinstance(self.stack[-2], _Stand):
            raise pickle.UnpicklingError("it calls what is not an array")
        super().load_reduce()

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    dispatch |= {
        pickle.BUILD[0]: load_build,
        pickle.REDUCE[0]: load_reduce,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
    }


def read_pickle(file: BinaryIO) -> Any:
    """A pickle of arrays of numbers, as Detectron2's model zoo has them.

    Raises:
        pickle.UnpicklingError: it is damaged, or holds anything else. Nothing of it was run.
    """
    try:
        return _ArraysOnly(file, encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # of damaged ones, which end in anything
        raise pickle.UnpicklingError(f"it is not a pickle, or damaged ({error})") from error


def read_torch(path: str | os.PathLike, *, mmap: bool = False) -> Any:
    """Content of a file of ``torch.save`` or safetensors, on the CPU. Nothing in it is run.

    Numbers are compared with the checksums that PyTorch keeps in the file, and does not look at.

    Args:
        mmap: leave the numbers in the file until they are looked at.

    Raises:
        ConfigError: it is missing, damaged or cut short, or holds more than weights.
    """
    if os.fspath(path).endswith(".safetensors"):
        return _read_safetensors(path)
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
        raise ConfigError(f"{path} is not a checkpoint of a training: {reason}") from error


def _read_safetensors(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """Weights by name. Those in half precision are made float32, which models are built in."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ConfigError(f"{path} is damaged, or not a file of safetensors: {error}") from error
    return {name: x.float() if x.is_floating_point() else x for name, x in weights.items()}


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
