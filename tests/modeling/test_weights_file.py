"""Files of weights run no code."""

import io
import os
import pickle
import struct
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
        with pytest.raises(ConfigError, match="b.pth (is not a checkpoint|cannot be read)"):
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


@pytest.mark.slow
def test_damaged_pickles_do_not_crash():
    command = [sys.executable, str(Path(__file__).parent / "fuzz_pickle.py"), "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert 0 < int(done.stdout.split()[-4]) < 300


@pytest.fixture
def training(tmp_path):
    """A checkpointer with two checkpoints, the weights of the last, and its file."""
    checkpointer = Checkpointer(torch.nn.Linear(4, 4), str(tmp_path))
    for iteration in (0, 1):
        torch.nn.init.normal_(checkpointer.model.weight)
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
    weights = {name: x.clone() for name, x in checkpointer.model.state_dict().items()}
    return checkpointer, weights, tmp_path / "model_0000001.pth"


def test_a_flipped_bit_in_a_number_is_seen(training):
    checkpointer, weights, path = training
    whole = path.read_bytes()
    place = whole.index(weights["weight"].numpy().tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert checkpointer.get_checkpoint_file().endswith("model_0000000.pth")
    message = "model_0000001.pth is damaged: its part .*data/. is not what was written"
    with pytest.raises(ConfigError, match=message):
        read_torch(path)
    with pytest.raises(ConfigError, match="is damaged"):
        checkpointer.load(str(path))


def test_damage_of_any_kind_is_passed_over(training):
    """Whatever bytes change, the file is refused, or the numbers are those that were saved."""
    checkpointer, weights, path = training
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        found = checkpointer.get_checkpoint_file()
        if found.endswith("model_0000000.pth"):
            refused += 1
            continue
        model = read_torch(found)["model"]
        assert all(torch.equal(model[name], x) for name, x in weights.items())
    assert refused > 50


@pytest.mark.parametrize("protocol", ["zip without checksums", "before 1.6"])
def test_files_without_checksums_load_as_before(tmp_path, protocol):
    path, content = tmp_path / "a.pth", {"model": {"weight": torch.arange(6.0)}}
    if protocol == "before 1.6":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(content, path)
        finally:
            torch.serialization.set_crc32_options(True)
    assert torch.equal(read_torch(path)["model"]["weight"], torch.arange(6.0))


@pytest.mark.parametrize("error", [IndexError, TypeError, AssertionError, struct.error, KeyError])
def test_whatever_reading_ends_in_is_damage(training, monkeypatch, error):
    checkpointer, _, path = training
    load = torch.load

    def broken(file, *args, **kwargs):
        if file == path:
            raise error("of a damaged file")
        return load(file, *args, **kwargs)

    monkeypatch.setattr(torch, "load", broken)
    assert checkpointer.get_checkpoint_file().endswith("model_0000000.pth")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"model_00\x0000001.pth", b"x" * 5000, b"../gone.pth", b"."]
)
def test_a_damaged_last_checkpoint_does_not_matter(training, content):
    checkpointer, _, path = training
    (path.parent / "last_checkpoint").write_bytes(content)
    assert checkpointer.get_checkpoint_file() == str(path)
    (path.parent / "last_checkpoint").unlink()
    (path.parent / "last_checkpoint").mkdir()
    assert checkpointer.get_checkpoint_file() == str(path)


@pytest.mark.parametrize("content", [3, [1], {"weights": 1}, None])
def test_a_file_that_holds_something_else_is_passed_over(training, content):
    checkpointer, _, path = training
    torch.save(content, path)
    assert checkpointer.get_checkpoint_file().endswith("model_0000000.pth")
