"""The masks in Cellpose's ``_seg.npy``, a pickle, read without running anything of it.

A pickle names functions that are called to make its objects. Here every name stands for a plain
class of this module: no function of NumPy or Python is ever called by the file.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from maskrcnnpp.errors import DataError

SEG_ENDING = "_seg.npy"
_LARGEST = 2**29  # pixels


class _Type:
    """Stand-in for ``numpy.dtype``: the bytes of a number and their order."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        self.text = text
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def made(self) -> np.dtype:
        if self.text not in ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"):
            raise DataError(f"has masks of the type {self.text!r}; integers are needed")
        return np.dtype((">" if self.order == ">" else "<") + self.text)


class _Array:
    """Stand-in for ``numpy.ndarray``."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state[1:]

    def made(self) -> np.ndarray:
        shape, kind, is_fortran, data = self.state
        if not isinstance(data, bytes) or not isinstance(kind, _Type):
            raise DataError("has masks that are not an array of numbers")
        sides = [side for side in shape if type(side) is int and 0 < side <= _LARGEST]
        if len(sides) != len(shape) or len(sides) not in (2, 3):
            raise DataError(f"has masks of the shape {shape}; height and width are needed")
        numbers = np.frombuffer(data, dtype=kind.made())
        return numbers.reshape(sides, order="F" if is_fortran else "C")


def _of_buffer(data: Any, kind: Any, shape: Any, order: str = "C") -> _Array:
    """Stand-in for ``_frombuffer``, which protocol 5 names."""
    array = _Array()
    array.state = shape, kind, order == "F", data if isinstance(data, bytes) else None
    return array


class _Ignored:
    """Stand-in for everything else."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def take(self, *_: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = take


_KNOWN = {"_reconstruct": _Array, "ndarray": _Array, "dtype": _Type, "_frombuffer": _of_buffer}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get(name, _Ignored) if module.split(".")[0] == "numpy" else _Ignored


def cellpose_masks(content: bytes) -> np.ndarray:
    """The array ``masks`` of a ``_seg.npy``.

    Raises:
        DataError: it is another file, damaged, or the masks have more than two dimensions. The
            message holds the reason only.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        if version[0] not in (1, 2, 3):
            raise DataError("is of an unknown version of NumPy's format")
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else (
            np.lib.format.read_array_header_2_0)  # fmt: skip
        shape, _, kind = read(file)
        if not kind.hasobject:  # only called as Cellpose calls it
            return np.load(io.BytesIO(content), allow_pickle=False)
        found = _Unpickler(file).load()
        if isinstance(found, _Array) and shape == ():
            found = found.state[3]
            found = found[0] if isinstance(found, list) and len(found) == 1 else found
        if not isinstance(found, dict) or not isinstance(found.get("masks"), _Array):
            raise DataError('has no array "masks", as _seg.npy of Cellpose has')
        masks = found["masks"].made()
    except DataError:
        raise
    except Exception as error:  # of a pickle, which may be anything
        raise DataError(f"is no _seg.npy of Cellpose, or damaged ({error})") from error
    if masks.ndim == 3 and masks.shape[0] == 1:
        masks = masks[0]
    if masks.ndim != 2:
        raise DataError("has masks of a stack, which is not read: save its planes one by one")
    return masks
