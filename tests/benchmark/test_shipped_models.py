"""Card, page and README have the numbers of the record; the shipped model is whole."""

import json

import numpy as np
import pytest
import yaml
from made_up import script

from maskrcnnpp import Predictor
from maskrcnnpp.benchmark.report import quote
from maskrcnnpp.models import CARD_FILE, card_text, find_model, shipped

tool = script("shipped_models")


@pytest.mark.parametrize("name", shipped())
def test_what_is_written_of_a_model_is_what_was_measured(name, tmp_path):
    record = json.loads((tool.DOCS / "models" / f"{name}.json").read_text())
    model = find_model(name)
    assert record["model"] == model.title
    assert (tool.DOCS / "models" / f"{name}.md").read_text() == tool.page(record, card_text(model))
    metrics = model.card["metrics"]
    assert metrics["mask AP"] == round(record["segm"]["AP"], 1)
    assert metrics["DSB score"] == round(record["dsb_score"], 3)
    card = yaml.safe_load((model.folder / CARD_FILE).read_text())
    assert card["options"]["score_threshold"] == record["score_threshold"]
    assert model.weights_file.stat().st_size <= 12 * 2**20


def test_the_readme_has_the_numbers_of_all_models():
    text = tool.README.read_text()
    assert text == quote(text, tool.DEFAULT, tool.sentence())
    assert all(f"`{find_model(name).title}`" in text for name in shipped())


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_model_finds_what_is_bright_and_round(name):
    image = np.zeros((64, 64), np.uint16)
    ys, xs = np.mgrid[:64, :64]
    for y, x in ((20, 20), (44, 40)):
        image[(ys - y) ** 2 + (xs - x) ** 2 < 81] = 3000
    objects = Predictor.load(name)(image)
    assert len(objects) == 2 and objects.scale == 1
    labels = objects.labels()
    assert labels[20, 20] and labels[44, 40] and labels[20, 20] != labels[44, 40]
    assert ((labels > 0) == (image > 0)).mean() > 0.95
