"""Files of weights run no code."""

import io
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.checkpoint import Checkpointer
from maskrcnnpp.modeling.weights_file import read_pickle, read_torch


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("inside", [False, True])
def test_crafted_files_are_refused(tmp_path, suffix, inside):
    evil = Evil(tmp_path / "was run")
    content = {"model": {"weight": evil if inside else np.zeros(2)}, "more": evil}
    path = tmp_path / f"a{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises((ConfigError, pickle.UnpicklingError)):
        Checkpointer(torch.nn.Linear(2, 2)).load(str(path))
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read(protocol):
    content = {"model": {"a": np.arange(6.0).reshape(2, 3), "b": np.float32(2)}, "n": [1, "ä"]}
    found = read_pickle(io.BytesIO(pickle.dumps(content, protocol=protocol)))
    assert found["n"] == content["n"]
    for name, array in content["model"].items():
        np.testing.assert_array_equal(found["model"][name], array)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([np.zeros(9)])[:-20]])
def test_damaged_pickles_are_told(content):
    with pytest.raises(pickle.UnpicklingError):
        read_pickle(io.BytesIO(content))


def test_weights_of_caffe2_and_of_the_zoo(tmp_path):
    model = torch.nn.Linear(2, 3)
    weights = {"weight": np.ones((3, 2), np.float32), "bias": np.zeros(3, np.float32)}
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({"model": weights, "__author__": "someone"}))
    Checkpointer(model).load(str(tmp_path / "zoo.pkl"))
    assert (model.weight == 1).all()


def test_missing_and_cut_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="a.pth cannot be read"):
        read_torch(tmp_path / "a.pth")
    torch.save({"model": torch.zeros(1000)}, tmp_path / "b.pth")
    content = (tmp_path / "b.pth").read_bytes()
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "b.pth").write_bytes(content[:size])
        with pytest.raises(ConfigError, match="b.pth (is no checkpoint|cannot be read)"):
            read_torch(tmp_path / "b.pth", mmap=True)


class Call:
    """Pickled, a call of this function."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


RECONSTRUCT = np.zeros(1).__reduce__()[0]
POINTERS = bytes(range(64))
CRAFTED = {
    "objects over raw bytes": Call(np.ndarray, (8,), np.dtype("O"), POINTERS),
    "numbers over raw bytes": Call(np.ndarray, (8,), np.dtype("f8"), POINTERS),
    "objects by state": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (8,), np.dtype("O"), False, [1] * 8)
    ),
    "objects inside": np.zeros(2, [("a", "O")]),
    "a structure": np.zeros(2, [("a", "f4")]),
    "more than there is": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (9,), np.dtype("f8"), False, POINTERS)
    ),
    "less than nothing": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (-1, -8), np.dtype("f8"), False, POINTERS)
    ),
    "an object as a number": Call(np.zeros(1)[0].__reduce__()[0], np.dtype("O"), POINTERS[:8]),
    "a set": {1, 2},
    "an array of objects": np.array([None, "a"]),
    "an array as a dict": Call(OrderedDict, [[((),), 1]]),
}


@pytest.mark.parametrize("what", CRAFTED)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_no_pointer_comes_of_a_pickle(what, protocol):
    content = pickle.dumps({"model": {"a": CRAFTED[what]}}, protocol=protocol)
    with pytest.raises(pickle.UnpicklingError):
        read_pickle(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        b"c_codecs\nencode\n(Vabc\nVzlib\ntR.",
        b"cnumpy\nndarray\n)\x81.",  # ndarray.__new__(ndarray)
        b"(I1\ninumpy\nndarray\n.",  # ndarray(1), as Python 2 pickled classes
        b"cnumpy\ndtype\n}S'x'\nI1\nsb.",  # the class changed
        b"}r\xff\xff\xff\x7fcos\ngetcwd\n)R.",
        b"})" + b"\x85" * 200_000 + b"K\1s.",  # a dict with a key of tuples in tuples
    ],
)
def test_other_ways_to_harm(content):
    with pytest.raises(pickle.UnpicklingError):
        read_pickle(io.BytesIO(content))


def test_arrays_of_a_pickle_can_be_written_to():
    content = {"a": np.arange(6, dtype=">f4").reshape(2, 3), "b": np.float64(0.5)}
    content["c"] = np.asfortranarray(content["a"])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found = read_pickle(io.BytesIO(pickle.dumps(content, protocol=protocol)))
        assert found["c"].flags.f_contiguous and found["b"] == 0.5
        found["a"] += 1
        np.testing.assert_array_equal(found["a"], content["a"] + 1)
        assert torch.from_numpy(found["a"].astype("f4")).sum() == 21


@pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {"blobs": [1]}, {1: np.zeros(1)}])
def test_what_holds_no_weights_by_name_is_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(pickle.UnpicklingError, match="no weights by name"):
        Checkpointer(torch.nn.Linear(2, 2)).load(str(tmp_path / "a.pkl"))


def test_damaged_pickles_do_not_crash():
    command = [sys.executable, str(Path(__file__).parent / "fuzz_pickle.py"), "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert 0 < int(done.stdout.split()[-4]) < 300
