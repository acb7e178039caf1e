"""`maskrcnnpp predict --processes`."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnnpp import cli
from maskrcnnpp.errors import ConfigError, UserError
from maskrcnnpp.inference import processes

_predict_file = processes._predict_file  # what dies below is put in its place


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        pixels = generator.integers(0, 256, (48, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def predict(images, monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(output, *words):
        given = ["--backend", "onnx", "--score", "0.01", "--format", "labels", "coco"]
        return cli.run("predict", [str(images), "--output", str(output), *given, *words])

    return run


def contents(output):
    files = (path for path in output.iterdir() if path.suffix in (".tif", ".json"))
    return {path.name: path.read_bytes() for path in files if not path.name.startswith("run")}


def test_results_are_those_of_one_process(predict, images, tmp_path, capsys):
    (images / "damaged.png").write_bytes(b"\x89PNG")
    assert predict(tmp_path / "one") == 1
    assert predict(tmp_path / "two", "--processes", "2") == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    said = capsys.readouterr()
    assert "3 of 4 images" in said.out
    assert said.err.count("left out:") == 2 and said.err.count("damaged.png") == 2


def die_once(flag, packed, job, file, naming):
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return _predict_file(packed, job, file, naming)
    os._exit(9)


def test_a_process_that_dies(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(
        processes, "_predict_file", functools.partial(die_once, str(tmp_path / "flag"))
    )
    with pytest.raises(UserError, match="a process died, .* lower --processes"):
        predict(tmp_path / "out", "--processes", "2")
    assert predict(tmp_path / "out", "--processes", "2") == 0
    assert len(list(Path(tmp_path, "out").glob("*.labels.tif"))) == 3


def test_numbers_that_cannot_be(predict, tmp_path, capsys):
    for wanted in ("0", "3"):
        with pytest.raises(ConfigError, match=f"--processes is {wanted}; choose 1 to 2"):
            predict(tmp_path / "out", "--processes", wanted)
    with pytest.raises(SystemExit):
        predict(tmp_path / "out", "--processes", "2", "--dask", "local:2")
    assert "--processes is of a CPU" in capsys.readouterr().err


def test_cores_are_shared(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with processes._threads(3):
        assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in os.environ
