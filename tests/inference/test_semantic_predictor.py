import numpy as np
import pytest
import tifffile
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, SemanticSegmentor, build_model
from PIL import Image
from semantic_config import head, unet_cfg

from maskrcnnpp import Predictor, cli
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.exporting import export_model
from maskrcnnpp.inference.semantic_predictor import (
    SemanticPredictor,
    load_predictor,
    tile_weight,
)
from maskrcnnpp.inference.tiling import Tile


class Brightness(Backbone):
    """Its feature is the image, so that what is predicted of a pixel depends on that pixel only."""

    def forward(self, x):
        return {"image": x}

    def output_shape(self):
        return {"image": ShapeSpec(channels=1, stride=1)}


class AsItIs(torch.nn.Module):
    ignore_value = 255

    def forward(self, features, targets):
        return features["image"] / 255, {}


@pytest.fixture
def brightness():
    return SemanticSegmentor(
        backbone=Brightness(), sem_seg_head=AsItIs(), pixel_mean=[0.0], pixel_std=[1.0]
    )


def predictor_of(model, **options):
    return SemanticPredictor(model, channels_of_model=1, progress=False, **options)


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (90, 150), (33, 129)])
def test_tiles_are_put_together_to_the_image(brightness, height, width, flips):
    image = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    tiled = predictor_of(brightness, tile_size=64, overlap=16, batch_size=3, flips=flips)
    found = tiled(image)
    np.testing.assert_allclose(found.probabilities[0], image / 255, atol=1e-6)
    np.testing.assert_array_equal(found.classes(), image > 127)
    assert found.image_size == (height, width)


def test_an_edge_of_a_tile_counts_less_than_its_middle():
    weight = tile_weight(Tile(0, 0, 40, 60), 8)
    assert weight.shape == (40, 60) and weight.min() > 0
    assert weight[20, 30] == 1 and weight[20, 0] == pytest.approx(1 / 9)


def test_objects_are_those_of_the_options(brightness):
    image = np.zeros((64, 64), np.uint8)
    image[2:22, 2:22], image[40:44, 40:44] = 255, 200
    assert [entry.area for entry in predictor_of(brightness)(image)] == [400, 16]
    assert [entry.area for entry in predictor_of(brightness, min_area=20)(image)] == [400]
    assert [entry.area for entry in predictor_of(brightness, score_threshold=0.9)(image)] == [400]


@pytest.mark.parametrize(
    "option",
    [{"scales": (1.0, 2.0)}, {"diameter": 20}, {"mask_threshold": 0.4}, {"overlaps": "keep"}],
)
def test_there_is_nothing_that_needs_masks_of_objects(brightness, option):
    with pytest.raises(ConfigError, match=f"{next(iter(option))} is of models that find objects"):
        predictor_of(brightness, **option)


@pytest.fixture
def trained(tmp_path):
    """Config and checkpoint of a network, which need not be good, and an image."""
    cfg = unet_cfg(head("NUM_CLASSES"), 2, "DATASETS.TRAIN", "()")
    cfg.OUTPUT_DIR = str(tmp_path)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    image = np.random.default_rng(0).integers(0, 256, (70, 90), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    return tmp_path


def test_the_command_writes_classes_and_probabilities(trained):
    out = trained / "out"
    words = ["--config-file", trained / "config.yaml", "--weights", trained / "model_final.pth"]
    words += ["--output", out, trained / "a.png", "--tile-size", 64, "--overlap", 16]
    words += ["--format", "classes", "probabilities", "labels", "csv"]
    assert cli.run("predict", list(map(str, words))) == 0
    values = tifffile.imread(out / "a.png.probabilities.tif")
    classes = tifffile.imread(out / "a.png.classes.tif")
    assert values.shape == (2, 70, 90) and values.dtype == np.uint8
    assert classes.shape == (70, 90) and classes.max() <= 2
    assert (out / "a.png.labels.tif").is_file() and (out / "a.png.csv").is_file()


def test_an_exported_model_gives_the_same(trained):
    files = [trained / "config.yaml", trained / "model_final.pth"]
    cfg = build_config(str(files[0]))
    file = export_model(cfg, files[1], trained / "model.onnx")
    options = {"progress": False, "flips": True, "tile_size": 64, "overlap": 16}
    image = np.random.default_rng(0).integers(0, 256, (70, 90), np.uint8)
    found, expected = (load_predictor(*x, **options)(image) for x in ((file,), files))
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    with pytest.raises(ConfigError, match="the model gives probabilities of pixels: use Semantic"):
        Predictor.load(file)


def test_a_depth_can_be_chosen(trained):
    words = [str(trained / "config.yaml"), str(trained / "model_final.pth")]
    found = load_predictor(*words, progress=False)
    assert isinstance(found, SemanticPredictor)
    with pytest.raises(ConfigError):  # no head of that depth was trained
        load_predictor(*words, opts=["MODEL.NESTED_UNET.DEPTH", "2"])
