"""Fine-tuning with corrected labels: data, training, model."""

import json
import time

import numpy as np
import pytest
import tifffile

from maskrcnnpp import Predictor, cli
from maskrcnnpp.config_reader import build_config, changed_keys
from maskrcnnpp.errors import ConfigError, DataError, UserError
from maskrcnnpp.models import find_model
from maskrcnnpp.napari import improvement
from maskrcnnpp.napari.improvement import Improvement, improve
from maskrcnnpp.napari.planes import Plane


@pytest.fixture
def here(monkeypatch):
    """Commands run in this process, which takes less time."""

    def run(name, *words, report):
        cli.run(name, [str(word) for word in words])
        report()

    monkeypatch.setattr(improvement, "_run", run)


@pytest.fixture
def plane(picture):
    return Plane("a.tif", picture[..., None], True, None, {})


@pytest.fixture
def labels():
    labels = np.zeros((64, 64), np.int64)
    for number, (y, x) in enumerate([(4, 5), (20, 30), (40, 10)], start=1):
        labels[y : y + 14, x : x + 12] = number
    return labels


OPTS = ["MODEL.DEVICE", "cpu"]


def test_a_corrected_image_gives_a_model(here, tiny_model, plane, labels, tmp_path):
    said = []
    choices = Improvement(tiny_model, tmp_path / "out", 3, OPTS)
    packed = improve(plane, labels, choices, lambda *words: said.append(words))
    assert packed == tmp_path / "out" / "model-1"
    model = find_model(str(packed))
    assert model.title == "out-1 1" and model.options == {"score_threshold": 0.25}
    assert model.card["data"] == "none; then 1 image corrected by hand"
    assert (3, 3) in [words[:2] for words in said]
    truth = json.loads((tmp_path / "out/coco/annotations/instances_all.json").read_text())
    assert len(truth["annotations"]) == 3
    # another image: both are trained on, and the model before stays
    second = Plane("b.tif", plane.pixels, True, None, {})
    again = improve(second, labels, Improvement(str(packed), tmp_path / "out", 2, OPTS), _quiet)
    assert again.name == "model-2" and "2 images" in find_model(str(again)).card["data"]
    assert len(Predictor.load(again, score_threshold=0.0)(plane.pixels)) > 0


def _quiet(done, count, text):
    pass


def test_of_the_shipped_model_the_training_is_the_recipe():
    of_run = ("OUTPUT_DIR", "DATASETS", "SEED")
    files = (find_model("nuclei").config_file, improvement.RECIPE)
    ours, recipe = (changed_keys(build_config(str(file))) for file in files)
    for keys in (ours, recipe):
        for name in of_run:
            keys.pop(name, None)
        keys["MODEL"].pop("WEIGHTS", None)
        keys["SOLVER"].pop("CHECKPOINTS_KEPT", None)  # which are on the disk
    ours["SOLVER"] |= improvement._recipe()
    assert ours["SOLVER"].pop("STEPS") == tuple(recipe["SOLVER"].pop("STEPS"))
    assert ours["SOLVER"] == recipe["SOLVER"]
    assert ours == recipe


def test_what_cannot_be_learned_leaves_nothing(here, tiny_model, plane, tmp_path):
    pieces = np.zeros((64, 64), int)
    pieces[::8, ::8] = 1  # a mask of foreground
    with pytest.raises(UserError):
        improve(plane, pieces, Improvement(tiny_model, tmp_path / "out", 1, OPTS), _quiet)
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_a_cancelled_training_leaves_the_labels_alone(here, tiny_model, plane, labels, tmp_path):
    def leave(done, count, text):
        if text.startswith("training"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        improve(plane, labels, Improvement(tiny_model, tmp_path / "out", 2, OPTS), leave)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["coco", "data"]


def test_a_folder_that_cannot_be_written(here, tiny_model, plane, labels, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        improve(plane, labels, Improvement(tiny_model, tmp_path / "file" / "x", 1), _quiet)
    with pytest.raises(ConfigError, match="there is no model"):
        improve(plane, labels, Improvement("none", tmp_path, 1), _quiet)


def test_large_objects_are_made_as_small_as_those_of_the_model(plane, tmp_path):
    labels = np.zeros((400, 400), int)
    labels[50:250, 60:260] = 7
    model = find_model("nuclei")
    pixels, small = improvement._at_known_size(np.zeros((400, 400, 3), np.uint8), labels, model)
    assert pixels.shape == (*small.shape, 3) and pixels.dtype == np.uint8
    diameter = 2 * np.sqrt(np.count_nonzero(small == 7) / np.pi)
    assert diameter == pytest.approx(model.card["diameter"], rel=0.1)
    tiny = np.zeros((40, 40), int)
    tiny[3:6, 3:6] = 1
    pixels, large = improvement._at_known_size(np.zeros((40, 40, 1), np.uint8), tiny, model)
    assert pixels.shape == (*large.shape, 1) and large.shape[0] > 200


@pytest.mark.parametrize(
    "pixels, expected",
    [
        (np.zeros((5, 6, 1), np.float64), (np.float32, (5, 6))),
        (np.zeros((5, 6, 3), np.uint8), (np.uint8, (5, 6, 3))),
    ],
)
def test_images_as_they_are_written(tmp_path, pixels, expected):
    files = (tmp_path / "image.tif", tmp_path / "labels.tif")
    improvement._write_pair(*files, pixels, np.full((5, 6), 70_000), True)
    assert tifffile.imread(files[1]).dtype == np.uint32
    image = tifffile.imread(files[0])
    assert (image.dtype, image.shape) == expected


def test_a_command_fails_with_its_own_words():
    with pytest.raises(UserError, match="maskrcnnpp x failed: there is no command 'x'"):
        improvement._run("x", report=lambda: None)


def test_a_command_ends_when_it_is_cancelled(tmp_path):
    def leave():
        raise KeyboardInterrupt

    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        improvement._run("models", report=leave)
    assert time.monotonic() - before < improvement._PATIENCE
