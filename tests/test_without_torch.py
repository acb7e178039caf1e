"""Predicting with the exported file of a model, where PyTorch is not installed and where it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from maskrcnnpp import Predictor, cli
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.inference.backend import find_trained
from maskrcnnpp.inference.options import Options
from maskrcnnpp.models import DEFAULT, EXPORTED_KEY, find_model

REAL = Path("tests/files/stardist_image.tif").resolve()
SCRIPT = Path("tests/without_torch.py").resolve()
TITLE = find_model(DEFAULT).title  # such as nuclei 1.0


def light(folder, *words):
    """A command without PyTorch, in a folder."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Folder with ``light``, a prediction without PyTorch of a real image, and ``torch``, with."""
    folder = tmp_path_factory.mktemp("elsewhere")
    words = [REAL, "--format", "labels", "csv", "overlay", "coco", "--output"]
    done = light(folder, "predict", *words, "light")
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "no warning"
    cli.run("predict", ["--backend", "torch", *map(str, words), str(folder / "torch")])
    return folder


def test_the_same_objects_as_with_torch(predicted):
    one, other = (
        tifffile.imread(predicted / name / f"{REAL.name}.labels.tif") for name in ("light", "torch")
    )
    assert one.max() == other.max() > 5
    assert (one != other).mean() < 1e-3  # probabilities at the threshold, by rounding
    assert sorted(p.name for p in (predicted / "light").iterdir()) == sorted(
        p.name for p in (predicted / "torch").iterdir()
    )


def test_the_page_of_a_run(predicted):
    done = light(predicted, "view", "light", "--output", "page.html")
    assert done.returncode == 0 and (predicted / "page.html").is_file(), done.stderr


def test_the_record_says_what_ran(predicted):
    records = [json.loads((predicted / n / "run.json").read_text()) for n in ("light", "torch")]
    assert records[0]["settings"]["backend"] == "onnx" and "backend" not in records[1]["settings"]
    versions = [record["calls"][0]["versions"] for record in records]
    assert "onnxruntime" in versions[0] and "torch" not in versions[0] and "torch" in versions[1]
    same = ("score_threshold", "percentiles", "diameter", "channels", "scales", "tile_size")
    assert [records[0]["settings"][k] for k in same] == [records[1]["settings"][k] for k in same]


def test_the_file_and_the_weights_agree():
    """Scores to 1e-4, with objects that are hardly any too."""
    image = tifffile.imread(REAL)
    onnx, torch = (
        Predictor.load("nuclei", backend=name, score_threshold=0.3, overlaps="keep")(image)
        for name in ("onnx", "torch")
    )
    assert len(onnx) == len(torch) > 5
    assert np.abs(onnx.scores - torch.scores).max() < 1e-4
    assert np.abs(onnx.boxes - torch.boxes).max() < 0.05
    model = find_model("nuclei")
    assert model.exported_file.stat().st_size <= 12 * 2**20
    trained = find_trained("nuclei", backend="onnx")
    about = trained.load(Options()).model.about
    assert about["weights_sha256"] == model.card["sha256"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "this needs PyTorch, torchvision and Detectron2"),
        (["predict", REAL, "--output", "o", "--backend", "torch"], "'maskrcnnpp[train]'"),
        (["predict", REAL, "--output", "o", "--nms", "0.3"], "NMS_THRESH_TEST is of the config"),
        (
            ["predict", REAL, "--output", "o", "--config-file", "a", "--weights", "b"],
            "pip install 'maskrcnnpp[train]'",
        ),
    ],
)
def test_what_needs_torch_says_so_in_a_line(tmp_path, words, message):
    done = light(tmp_path, *words)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and message in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "o").exists()


def test_models_are_shown(tmp_path):
    done = light(tmp_path, "models")
    assert done.returncode == 0 and done.stdout.startswith(f"{TITLE}: "), done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flips": True}, "need the backend torch"),
        ({"scales": (1.0, 2.0)}, "need the backend torch"),
        ({"precision": "bfloat16"}, "exported models compute in float32"),
        ({"opts": ["MODEL.NESTED_FPN.DEPTH", "2"]}, "MODEL.NESTED_FPN.DEPTH is of the config"),
        ({"weights": "model.pth"}, "not a config and a checkpoint"),
        ({"backend": "tensorflow"}, "the backend is 'tensorflow'"),
    ],
)
def test_what_an_exported_model_cannot_do(options, message):
    with pytest.raises(ConfigError, match=message):
        Predictor.load("nuclei", **{"backend": "onnx", **options})


def test_a_scale_is_a_resized_image():
    image = tifffile.imread(REAL)
    (whole, half) = (
        Predictor.load("nuclei", backend="onnx", scales=(scale,))(image) for scale in (1.0, 2.0)
    )
    assert whole.image_size == half.image_size and abs(len(whole) - len(half)) < 0.3 * len(whole)


def test_a_file_alone_and_files_that_are_not_whole(tmp_path):
    model = find_model("nuclei")
    image = tifffile.imread(REAL)[:64, :64]
    file = Path(shutil.copy(model.exported_file, tmp_path / "mine.onnx"))
    options = {"score_threshold": 0.75, "trained_diameter": 19.6}
    alone = Predictor.load(file, **options)(image)
    by_name = Predictor.load("nuclei", backend="onnx")(image)
    assert (alone.labels() == by_name.labels()).all() and len(alone) > 0
    with pytest.raises(ConfigError, match="no config and weights for the backend torch"):
        Predictor.load(file, backend="torch")
    for content, message in (
        (file.read_bytes()[:9000], "is not an exported model of maskrcnnpp, or onnxruntime is too"),
        (file.read_bytes().replace(b'"about_version": 1', b'"about_version": 7'), "in version 7"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            Predictor.load(file)
    folder = Path(shutil.copytree(model.folder, tmp_path / "nuclei"))
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match="model.onnx is damaged or was replaced"):
        find_model(str(folder))
    card = (folder / "card.yaml").read_text()
    (folder / "card.yaml").write_text(card.replace(EXPORTED_KEY, "other"))
    with pytest.raises(ConfigError, match=f"{TITLE} has no exported file"):
        Predictor.load(folder, backend="onnx")


def test_openvino_reads_the_same_file():
    pytest.importorskip("openvino")
    image = tifffile.imread(REAL)
    onnx, openvino = (
        Predictor.load("nuclei", backend=name)(image) for name in ("onnx", "openvino")
    )
    assert len(onnx) == len(openvino)
    assert np.abs(onnx.scores - openvino.scores).max() < 1e-3
