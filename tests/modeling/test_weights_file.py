"""Files of weights run no code."""

import io
import os
import pickle

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
