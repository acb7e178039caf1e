"""Number arrays of MATLAB files, checked before SciPy reads them.

Its compiled reader looks types up in a table without a check, and so a damaged byte would end the
whole program.
"""

from __future__ import annotations

import io
import itertools
import math
import struct
import zlib
from collections.abc import Collection, Iterator

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import matfile_version

from maskrcnnpp.errors import DataError, first_line

_HEADER = 128  # bytes of a file before its first variable
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
# bytes of a number, by type
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
_NUMBER_CLASSES = range(6, 16)  # double, single, and integers
_OPAQUE = 17
_COMPLEX = 0x800
_LARGEST = 2**31  # bytes of a variable


def read_mat(content: bytes, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """The wanted variables of a MATLAB file, by name, without those that it lacks.

    Args:
        content: of the file.
        wanted: names of variables.

    Raises:
        DataError: it is not a MATLAB file, is damaged, or a variable is not an array of real
            numbers.
    """
    try:
        version, _ = matfile_version(io.BytesIO(content))
        if version == 2:
            raise DataError("is a MATLAB file of version 7.3; save it as -v7 in MATLAB")
        if version == 1:
            content = content[:_HEADER] + b"".join(_checked(content, wanted))
        found = loadmat(io.BytesIO(content), variable_names=list(wanted))
    except DataError:
        raise
    except Exception as error:  # of parsers, which raise what they like
        raise DataError(f"is not a MATLAB file, or cut short ({first_line(error)})") from error
    return {name: found[name] for name in wanted if name in found}


def _checked(content: bytes, wanted: Collection[str]) -> Iterator[bytes]:
    """The wanted variables as they stand in a file, not compressed."""
    order = "<" if content[126:128] == b"IM" else ">"
    names = set()
    for kind, data in _elements(content[_HEADER:], order):
        if kind == _COMPRESSED:
            ((kind, data),) = _elements(_unpacked(data), order)
        if kind != _MATRIX:
            raise DataError(f"is damaged: an element of type {kind} where a variable begins")
        name = _name(data, order)
        if name not in wanted:
            continue
        if name in names:
            raise DataError(f"holds {name} twice; save it again")
        names.add(name)
        _check_numbers(name, data, order)
        yield struct.pack(f"{order}II", _MATRIX, len(data)) + data


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of what is in a file or a variable."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start = place + 8
        if kind >> 16:  # a short one, whose tag takes four bytes
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise DataError("is damaged: a short element of more than four bytes")
        if start + size > len(data):
            raise DataError("is cut short, or damaged: an element ends behind the file")
        yield kind, data[start : start + size]
        # all but compressed ones begin at a multiple of eight
        place = start + size if kind == _COMPRESSED else start + size + -(start + size) % 8


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, _LARGEST)
    if not unpacker.eof:
        raise DataError("is cut short, or has a variable that is too large")
    return unpacked


def _name(data: bytes, order: str) -> str:
    kinds, contents = zip(*itertools.islice(_elements(data, order), 3))
    if struct.unpack_from(f"{order}I", contents[0])[0] & 0xFF == _OPAQUE:
        return ""  # an object of MATLAB, which has no size
    flags, sizes, name = kinds
    # the second of each is not as it should be, but written by some
    as_known = flags == _UINT32 and sizes in (_INT32, _UINT32) and name in (_INT8, _UTF8)
    if not as_known or len(contents[0]) != 8 or len(contents[1]) % 4:
        raise DataError("is damaged: a variable without class, size and name")
    return contents[2].decode("latin-1")


def _check_numbers(name: str, data: bytes, order: str) -> None:
    (_, flags), (_, sizes), _, *numbers = _elements(data, order)
    (flags,) = struct.unpack_from(f"{order}I", flags)
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if flags & 0xFF not in _NUMBER_CLASSES or flags & _COMPLEX:
        raise DataError(f"has {name}, but not as a full array of real numbers; save it as one")
    kind, values = numbers[0] if len(numbers) == 1 else (0, b"")
    count = math.prod(shape)
    if kind not in _SIZES or min(shape, default=-1) < 0 or len(values) != count * _SIZES[kind]:
        raise DataError(f"is damaged: {name} does not hold as many numbers as it says")
