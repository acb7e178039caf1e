"""The wheel, installed outside the checkout: convert, train and predict from another folder."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pytest
import tifffile
from packaging.requirements import Requirement
from without_torch import MISSING

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "maskrcnnpp://quick/maskrcnnpp_R_18_nested_fpn.yaml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools leaves a build/ where it builds
    for name in ("maskrcnnpp", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """``call(*words)`` runs the installed command, or a script of it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    # what it needs, without the checkout: .pth files of that folder are not followed
    Path(purelib, "needs.pth").write_text(sysconfig.get_path("purelib"))
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--no-deps", "--ignore-installed", str(wheel)]
    subprocess.run(command, check=True)

    def call(*words, script=folder / "venv" / "bin" / "maskrcnnpp"):
        done = subprocess.run(
            [python, script, *map(str, words)],
            cwd=folder, env={"PATH": "", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    call.folder = folder
    return call


def test_it_has_what_is_no_python(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert f"maskrcnnpp/configs/{path.relative_to(ROOT / 'configs').as_posix()}" in names
    assert {f"maskrcnnpp/commands/splits/dsb2018/{s}.txt" for s in ("train", "val", "test")} < names
    for file in ("card.yaml", "config.yaml", "model.onnx", "weights.safetensors"):
        assert f"maskrcnnpp/models/nuclei/{file}" in names
    assert {"maskrcnnpp/py.typed", "maskrcnnpp/commands/requirements-detectron2.txt"} < names
    assert {"maskrcnnpp/inference/view.html", "maskrcnnpp/napari/napari.yaml"} < names


def test_without_an_extra_nothing_of_a_training_is_required(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        about = message_from_bytes(file.read(name))
    needed = [Requirement(text) for text in about.get_all("Requires-Dist")]
    light = {r.name.replace("-", "_") for r in needed if "extra" not in str(r.marker)}
    assert "onnxruntime" in light and not light & {*MISSING, "scikit_image"}


@pytest.mark.skipif(sys.platform == "win32", reason="paths of a virtual environment")
def test_predict_without_torch(installed):
    script = ROOT / "tests" / "without_torch.py"
    words = ["predict", ROOT / "tests/files/stardist_image.tif", "--output", "light"]
    assert "1 of 1 images" in installed(*words, script=script)
    assert tifffile.imread(installed.folder / "light" / "stardist_image.tif.labels.tif").max() > 5


@pytest.mark.skipif(sys.platform == "win32", reason="paths of a virtual environment")
def test_convert_train_and_predict(installed):
    folder = installed.folder
    rng = np.random.default_rng(0)
    for name in "ab":
        labels = np.zeros((64, 64), np.uint16)
        for number in range(1, 7):
            top, left = rng.integers(0, 50, 2)
            labels[top : top + 12, left : left + 12] = number
        image = (labels > 0).astype(np.uint8) * 150 + rng.integers(0, 50, (64, 64), np.uint8)
        for kind, pixels in (("images", image), ("labels", labels)):
            (folder / "set" / kind).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / "set" / kind / f"{name}.tif", pixels)
    installed("convert", "--format", "labels", "--input", "set", "--output", "coco")
    data = "coco/annotations/instances_all.json"
    out = installed(
        "train", "--config-file", CONFIG, "DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST",
        f"('{data}',)", "OUTPUT_DIR", "run", "SOLVER.MAX_ITER", 10, "SOLVER.STEPS", "()",
        "TEST.EXPECTED_RESULTS", "[]", "INPUT.CROP.SIZE", "[64,64]", "SOLVER.IMS_PER_BATCH", 1,
    )  # fmt: skip
    # a quiet start: log.txt has the rest
    start = out.partition(" iteration ")[0].splitlines()
    assert len(start) <= 10 and "Warning" not in out and "copypaste" not in out, out
    assert len((folder / "run" / "log.txt").read_text().splitlines()) > 500
    start = json.loads((folder / "run" / "runs.json").read_text())[0]
    assert start["command"].startswith("maskrcnnpp train --config-file")
    out = installed(
        "predict", "--config-file", "run/config.yaml", "--weights", "run/model_final.pth",
        "coco/images", "--output", "found", "--score", "0",
    )  # fmt: skip
    assert "2 of 2 images" in out
    found = [tifffile.imread(path) for path in (folder / "found").glob("*.labels.tif")]
    assert [labels.shape for labels in found] == [(64, 64)] * 2
