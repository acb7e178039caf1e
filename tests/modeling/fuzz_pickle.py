"""Damage pickles of weights at random and read them: python fuzz_pickle.py COUNT [SEED].

A process of its own, since what is looked for is a crash of it. Prints how many were read.
"""

import io
import pickle
import random
import sys
from collections import OrderedDict

import numpy as np

from maskrcnnpp.modeling.weights_file import read_pickle

CONTENT = {
    "model": OrderedDict(
        a=np.arange(6.0).reshape(2, 3),
        b=np.float32(2),
        c=np.asfortranarray(np.ones((3, 2), np.float16)),
        d=np.array([True, False]),
        e=np.arange(3, dtype=">i4"),
    ),
    "more": [1, "ä", 2.5, None, b"x", (3, (4,)), {"k": -1, 2: True}],
}
SEEDS = [pickle.dumps(CONTENT, protocol=p) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
# pieces that damage of single bytes would hardly ever make
PIECES = [
    *(bytes([code]) for code in range(256)),
    *(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy._core.multiarray\nscalar\n"),
    *(b"cnumpy._core.numeric\n_frombuffer\n", b"ccollections\nOrderedDict\n", b"X\1\0\0\0O"),
    *(b"X\2\0\0\0O8", b"X\2\0\0\0V8", b"X\2\0\0\0f8", b"r\xff\xff\xff\x7f", b"\x96" + b"\xff" * 8),
]


def damaged(chance: random.Random) -> bytes:
    """One of the pickles with up to eight changes."""
    content = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(content) + 1)
        end = place + chance.choice((0, 1, 1, 1, 2, 8, 40))
        piece = chance.choice((b"", chance.choice(PIECES), chance.randbytes(chance.randint(1, 4))))
        if chance.random() < 0.1:
            start = chance.randrange(len(content))
            piece = bytes(content[start : start + chance.randint(1, 80)])
        content[place:end] = piece
    return bytes(content)


def check(value: object, depth: int = 0) -> None:
    """That only numbers, texts and what holds them came out, and can be looked at."""
    if isinstance(value, np.ndarray):
        assert value.dtype.kind in "biufc" and value.tobytes() is not None, value.dtype
    elif isinstance(value, (dict, list, tuple)) and depth < 20:
        for item in value.values() if isinstance(value, dict) else value:
            check(item, depth + 1)


def main(count: int, seed: int) -> None:
    chance = random.Random(seed)
    good = 0
    for number in range(count):
        content = damaged(chance)
        try:
            check(read_pickle(io.BytesIO(content)))
            good += 1
        except pickle.UnpicklingError:
            pass
        except BaseException:
            print(f"mutation {number} of seed {seed}: {content!r}", flush=True)
            raise
    print(f"{good} of {count} read")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
