"""COCO's compressed run lengths, read in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_DIGITS = 7  # of 5 bits, of one run length: more than the largest image takes


def unpack(packed: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run lengths of COCO's compressed RLEs, many at a time.

    Here since pycocotools reads past the end of broken texts, and does not give the lengths.

    Args:
        packed: the counts, none of them empty.

    Returns:
        int64: the lengths of all in one line; how many each has; bool: which are broken.
    """
    sizes = np.array([len(text) for text in packed])
    ends = np.cumsum(sizes) - 1
    digits = np.frombuffer(b"".join(packed), dtype=np.uint8).astype(np.int64) - ord("0")
    owner = np.repeat(np.arange(len(packed)), sizes)
    broken = np.zeros(len(packed), dtype=bool)
    broken[owner[(digits < 0) | (digits > 63)]] = True
    # the lowest 5 bits come first, and bit 6 says that more follow
    is_last = digits & 32 == 0
    broken |= ~is_last[ends]
    is_last[ends] = True
    first = np.concatenate(([0], np.flatnonzero(is_last)[:-1] + 1))
    lengths = np.add.reduceat(is_last.astype(np.int64), ends - sizes + 1)
    digits_each = np.diff(np.append(first, len(digits)))
    place = np.arange(len(digits)) - np.repeat(first, digits_each)
    broken[owner[place >= _DIGITS]] = True
    values = np.add.reduceat((digits & 31) << (5 * np.minimum(place, _DIGITS)), first)
    is_negative = digits[is_last] & 16 != 0
    values[is_negative] -= 1 << (5 * np.minimum(digits_each[is_negative], _DIGITS))
    # from the fourth on they are differences to the one before the last
    starts = np.cumsum(lengths) - lengths
    number = np.arange(len(values)) - np.repeat(starts, lengths)
    odd, even = (np.where(which, values, 0) for which in (number % 2 == 1, number % 2 == 0))
    even[starts] = 0
    counts = np.where(
        number % 2 == 1, sums_of_each(odd, starts, lengths), sums_of_each(even, starts, lengths)
    )
    counts[starts] = values[starts]
    return counts, lengths, broken


def sums_of_each(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Running sums that begin anew at every start."""
    total = np.cumsum(values)
    return total - np.repeat(total[starts] - values[starts], lengths)
