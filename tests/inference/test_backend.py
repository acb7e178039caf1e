"""Which runtime a model by name gets where none is named."""

import pytest

from maskrcnnpp import Predictor
from maskrcnnpp.commands.arguments.predict import parse_args
from maskrcnnpp.commands.predict import model_of
from maskrcnnpp.inference import backend
from maskrcnnpp.inference.backend import find_trained
from maskrcnnpp.inference.semantic_predictor import load_predictor


@pytest.fixture(params=[False, True], ids=["CPU", "GPU"])
def has_gpu(request, monkeypatch):
    monkeypatch.setattr(backend, "_has_gpu", lambda: request.param)
    return request.param


def test_a_model_by_name_runs_as_its_file_on_a_cpu(has_gpu):
    assert find_trained("nuclei").backend == ("torch" if has_gpu else "onnx")


def test_workers_may_have_a_gpu(has_gpu):
    assert find_trained("nuclei", gpu=True).backend == "torch"


@pytest.mark.parametrize(
    "given",
    [
        {"depth": 2},
        {"opts": ["MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.4"]},
        {"options": {"precision": "bfloat16"}},
        {"options": {"flips": True}},
        {"options": {"scales": (1.0, 2.0)}},
    ],
    ids=str,
)
def test_what_only_pytorch_can_do_runs_there(has_gpu, given):
    assert find_trained("nuclei", **given).backend == "torch"


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


@pytest.mark.parametrize("words", [["--flips"], ["--precision", "bfloat16"], ["--num-gpus", "2"]])
def test_the_command_says_what_it_needs(words):
    args = parse_args(["a.png", "--output", "o", *words])
    assert find_trained(**model_of(args)).backend == "torch"
