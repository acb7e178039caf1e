"""A threshold that is moved afterwards gives what a prediction with it gives."""

import numpy as np
import pytest
from detectron2.modeling import build_model

from maskrcnnpp.inference.candidates import SemanticCandidates
from maskrcnnpp.inference.objects import SemanticObjects
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.tiling import Detection

TILES = {"tile_size": 64, "overlap": 16, "progress": False}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (100, 64, 3), dtype=np.uint8)


@pytest.fixture
def model(tiny_cfg):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    return build_model(tiny_cfg)


def drawn(objects):
    return [(d.box, d.score, d.top, d.left, d.pixels.tobytes()) for d in objects]


def test_any_threshold_is_that_of_a_prediction(model, image):
    candidates = Predictor(model, score_threshold=0.05, **TILES).candidates(image)
    scores = sorted({d.score for tile in candidates.found for d in tile})
    assert len(candidates.tiles) == 2 and len(scores) > 8
    # also exactly at a score, where the types of the numbers count
    for score in (0.05, float(np.quantile(scores, 0.3)), scores[len(scores) // 2], 0.99):
        expected = Predictor(model, score_threshold=score, **TILES)(image)
        assert drawn(candidates.at(score)) == drawn(expected), score
    assert len(candidates.at(scores[2])) > len(candidates.at(scores[-2]))


def test_tiles_are_watched_and_can_be_left(model, image):
    predictor, seen = Predictor(model, **TILES), []
    predictor.watch = lambda done, count: seen.append((done, count))
    predictor(image)
    assert seen == [(0, 2), (1, 2)]

    def leave(done, count):
        raise KeyboardInterrupt

    predictor.watch = leave
    with pytest.raises(KeyboardInterrupt):
        predictor(image)


def test_objects_of_a_semantic_model():
    square = np.ones((2, 2), bool)
    found = [
        Detection((0, 0, 2, 2), score, 0, square, 0, 4 * k) for k, score in enumerate((0.9, 0.4))
    ]
    objects = SemanticObjects(found, np.zeros((1, 8, 8), np.float32))
    candidates = SemanticCandidates(objects, Options())
    assert [d.score for d in candidates.at(0.4)] == [0.9, 0.4]
    assert [d.score for d in candidates.at(0.5)] == [0.9]
    assert candidates.at(0.5).probabilities is objects.probabilities
