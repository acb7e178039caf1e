import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.inference.magnification import estimate_scale, typical_diameter
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.tiling import Detection


def squares(side, count, score=0.9):
    pixels = np.ones((side, side), bool)
    return [Detection((0, 0, side, side), score, 0, pixels, 0, 0)] * count


@pytest.mark.parametrize(
    ("found", "scale"),
    [
        ({1.0: squares(20, 9)}, 1.0),
        ({1.0: squares(90, 4), 0.5: squares(100, 6), 0.25: squares(102, 6)}, 0.5),
        ({1.0: squares(90, 4), 0.5: squares(90, 4), 0.25: squares(180, 8)}, 0.25),
        ({1.0: squares(90, 4), 0.5: squares(91, 4), 0.25: []}, 1.0),
        ({1.0: squares(30, 90, 0.7), 0.5: squares(60, 10, 0.8), 0.25: squares(120, 6)}, 0.25),
        ({1.0: squares(12, 90, 0.7), 0.5: [], 0.25: [], 2.0: squares(12, 90)}, 2.0),
        ({1.0: squares(12, 90, 0.7), 0.5: [], 0.25: squares(24, 12), 2.0: []}, 1.0),
        ({1.0: squares(30, 90, 0.8), 0.25: squares(120, 60)}, 1.0),
        ({1.0: squares(12, 90), 2.0: squares(12, 200)}, 1.0),
        ({1.0: squares(4, 900, 0.7), 0.5: squares(100, 6), 0.25: [], 2.0: squares(3, 900)}, 0.5),
        ({1.0: squares(4, 90), 2.0: squares(5, 300)}, 2.0),
        ({1.0: [], 0.5: [], 0.25: squares(200, 3)}, 0.25),
        ({1.0: [], 0.5: [], 0.25: []}, 1.0),
        # of an image without objects: its noise
        ({1.0: [], 0.5: [], 0.25: squares(250, 1, 1.0)}, 1.0),
        ({1.0: [], 0.5: squares(100, 6, 0.8), 0.25: []}, 1.0),
        ({1.0: [], 0.5: squares(50, 2), 0.25: []}, 1.0),
    ],
)
def test_the_scale_at_which_objects_cover_clearly_more(found, scale):
    assert estimate_scale(lambda tile, factor: found[factor], 500, 400) == scale


def test_the_window_grows_as_the_image_shrinks_and_stays_inside():
    seen = {}

    def find(tile, scale):
        seen[scale] = tile
        return []

    estimate_scale(find, 3000, 300)
    assert {(t.left, t.right) for t in seen.values()} == {(0, 300)}
    assert {s: t.bottom - t.top for s, t in seen.items()} == {1: 1024, 0.5: 2048, 0.25: 3000}
    assert all(t.top == 3000 - t.bottom for t in seen.values())


def test_the_diameter_is_that_of_most_of_the_area():
    assert typical_diameter([]) is None
    found = typical_diameter([*squares(4, 50), *squares(40, 3)])
    assert found == pytest.approx(2 * 40 / np.pi**0.5)


class OneBright(torch.nn.Module):
    """Finds the box of what is bright, and remembers the size of what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.sizes = []
        self.scores = {}  # by the height of an image

    def inference(self, inputs, do_postprocess):
        outputs = []
        for entry in inputs:
            image = entry["image"][0]
            self.sizes.append(tuple(image.shape))
            ys, xs = torch.nonzero(image > 127, as_tuple=True)
            box = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]
            outputs.append(
                Instances(
                    tuple(image.shape),
                    pred_boxes=Boxes(torch.tensor(box).float()),
                    scores=torch.tensor([self.scores.get(image.shape[0], 0.95)]),
                    pred_classes=torch.tensor([0]),
                    pred_masks=torch.ones(1, 1, 28, 28),
                )
            )
        return outputs


def test_images_are_resized_to_the_diameter_of_the_training():
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:80, 60:120] = 255
    model = OneBright()
    predictor = Predictor(model, trained_diameter=20, diameter=40)
    (found,), objects = [*predictor(image)], predictor(image)
    assert model.sizes[0] == (60, 80) and objects.scale == 0.5
    assert (found.top, found.left, found.bottom, found.right) == (40, 60, 80, 120)
    assert found.box == (60, 40, 120, 80)
    assert objects.labels().shape == (120, 160)


def test_a_small_image_is_looked_at_once():
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:60, 60:80] = 255
    model = OneBright()
    objects = Predictor(model, trained_diameter=20)(image)
    assert model.sizes == [(120, 160)] and objects.scale == 1 and len(objects) == 1
    image[20:120] = 255  # too large: looked at smaller, which changes nothing
    model.sizes.clear()
    assert Predictor(model, trained_diameter=20)(image).scale == 1
    assert model.sizes == [(120, 160), (60, 80), (30, 40)]


@pytest.mark.parametrize("score_threshold", [0.05, 0.75, 0.9])
def test_the_estimate_does_not_depend_on_the_score_that_is_asked_for(score_threshold):
    image = np.zeros((120, 160, 3), np.uint8)
    image[10:110, 10:110] = 255
    model = OneBright()
    model.scores = {120: 0.74, 60: 0.78, 30: 0.3}  # not clearly more at any other size
    predictor = Predictor(model, trained_diameter=20, score_threshold=score_threshold)
    objects = predictor(image)
    assert objects.scale == 1 and len(objects) == (score_threshold < 0.74)
    assert model.sizes == [(120, 160), (60, 80), (30, 40)]
    model.scores = {120: 0.55, 60: 0.9, 30: 0.3}
    assert predictor(image).scale == 0.5


def test_tiles_keep_their_size_for_the_model():
    image = np.zeros((256, 256, 3), np.uint8)
    image[:] = 255
    model = OneBright()
    Predictor(model, trained_diameter=20, diameter=80, tile_size=64, overlap=16)(image)
    assert model.sizes == [(64, 64)]
    model.sizes.clear()
    Predictor(model, trained_diameter=20, diameter=20, tile_size=64, overlap=16)(image)
    assert len(model.sizes) > 16


@pytest.mark.parametrize("diameter", [0.001, 1.3, 19.5, 20, 20.1, 22.2, 1e5])
def test_tiles_of_any_diameter_can_be_cut(diameter):
    predictor = Predictor(
        OneBright(), trained_diameter=19.6, diameter=diameter, tile_size=64, overlap=32
    )
    raster = predictor._raster(np.zeros((70, 70, 3), np.uint8))
    tiles = predictor._tiles(raster, 19.6 / diameter)
    assert max(tile.bottom for tile in tiles) == max(tile.right for tile in tiles) == 70


def test_a_diameter_needs_a_model_that_has_one():
    with pytest.raises(ConfigError, match="a model whose card says what diameter"):
        Predictor(OneBright(), diameter=30)
    with pytest.raises(ConfigError, match="diameter is -1"):
        Predictor(OneBright(), trained_diameter=20, diameter=-1)
    with pytest.raises(ConfigError, match="both resize"):
        Predictor(OneBright(), trained_diameter=20, diameter=9, scales=(0.5,))
