"""Which runtime a model by name gets where none is named."""

import json
import shutil

import pytest
import yaml

from maskrcnnpp import Predictor
from maskrcnnpp.commands.arguments.predict import parse_args
from maskrcnnpp.commands.predict import model_of
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.inference import backend, exported_model
from maskrcnnpp.inference.backend import find_trained
from maskrcnnpp.inference.semantic_predictor import load_predictor
from maskrcnnpp.models import CARD_FILE, find_model


@pytest.fixture(params=[False, True], ids=["CPU", "GPU"])
def has_gpu(request, monkeypatch):
    monkeypatch.setattr(backend, "_has_gpu", lambda: request.param)
    return request.param


def test_a_model_by_name_runs_as_its_file_on_a_cpu(has_gpu):
    assert find_trained("nuclei").backend == ("torch" if has_gpu else "onnx")


def test_other_machines_may_have_a_gpu(has_gpu):
    assert find_trained("nuclei", torch_first=True).backend == "torch"
    assert find_trained("nuclei", torch_first=False).backend == "onnx"


def test_the_options_of_the_card_count(has_gpu, tmp_path):
    folder = shutil.copytree(find_model("nuclei").folder, tmp_path / "mine")
    card = yaml.safe_load((folder / CARD_FILE).read_text())
    for options, given, expected in (
        ({"precision": "bfloat16"}, {}, "torch"),
        ({"tile_size": 2048}, {"overlap": 600}, "torch" if has_gpu else "onnx"),
    ):
        (folder / CARD_FILE).write_text(yaml.safe_dump({**card, "options": options}))
        assert find_trained(folder, options=given).backend == expected


@pytest.mark.parametrize(
    "given",
    [
        {"opts": ["MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.4"]},
        {"options": {"precision": "bfloat16"}},
        {"options": {"flips": True}},
        {"options": {"scales": (1.0, 2.0)}},
    ],
    ids=str,
)
def test_what_only_pytorch_can_do_runs_there(has_gpu, given):
    assert find_trained("nuclei", **given).backend == "torch"


def test_a_model_without_a_grid_has_no_depth_to_choose():
    with pytest.raises(ConfigError, match="no depth to choose: it has no nested pyramid"):
        find_trained("nuclei", depth=2)


@pytest.mark.parametrize(("package", "expected"), [("onnxruntime", "torch"), ("torch", "onnx")])
def test_what_is_installed_runs(has_gpu, monkeypatch, package, expected):
    installed = backend.importlib.util.find_spec
    monkeypatch.setattr(
        backend.importlib.util, "find_spec", lambda name: name != package and installed(name)
    )
    assert find_trained("nuclei").backend == expected


@pytest.mark.parametrize("load", [load_predictor, Predictor.load], ids=["either", "objects"])
def test_an_option_of_pytorch_needs_no_backend(load):
    assert load("nuclei", precision="bfloat16", progress=False).options.precision == "bfloat16"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--flips"], "torch"),
        (["--precision", "bfloat16"], "torch"),
        (["--num-gpus", "2"], "torch"),
        (["--shard", "1/2"], "torch"),
        (["--dask", "tcp://a:1"], "torch"),
        (["--dask", "local:2"], "onnx"),
        ([], "onnx"),
    ],
    ids=str,
)
def test_the_command_says_what_it_needs(monkeypatch, tmp_path, words, expected):
    monkeypatch.setattr(backend, "_has_gpu", lambda: False)
    args = parse_args(["a.png", "--output", str(tmp_path / "o"), *words])
    assert find_trained(**model_of(args)).backend == expected


@pytest.mark.parametrize("begun", ["torch", "onnx"])
def test_a_run_goes_on_with_its_backend(has_gpu, tmp_path, begun):
    settings = {} if begun == "torch" else {"backend": begun}
    (tmp_path / "run_1_of_2.json").write_text(json.dumps({"settings": settings, "calls": []}))
    args = parse_args(["a.png", "--output", str(tmp_path), "--shard", "2/2"])
    assert find_trained(**model_of(args)).backend == begun


def test_cores_that_are_not_ours_get_no_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for ours, expected in ((2, 2), (8, 0)):
        monkeypatch.setattr(exported_model, "cores", lambda ours=ours: ours)
        monkeypatch.setattr(exported_model.os, "cpu_count", lambda: 8)
        assert exported_model._threads() == expected


def test_a_gpu_that_is_hidden_is_none(monkeypatch):
    monkeypatch.delitem(backend.sys.modules, "torch")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(backend.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(backend.metadata, "version", lambda name: "2.14.1+cu130")
    assert backend._has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not backend._has_gpu()
