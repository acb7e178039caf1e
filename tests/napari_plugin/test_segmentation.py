"""Objects of a plane without Qt: any threshold, corrections, every format."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from maskrcnnpp import Predictor
from maskrcnnpp.errors import ConfigError, DataError, OutputError
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.napari.planes import Plane
from maskrcnnpp.napari.segmentation import Settings, corrected, describe, formats, segment


def quiet(done, count, text):
    pass


def plane_of(pixels, is_colour=True):
    return Plane("cells", pixels.reshape(*pixels.shape[:2], -1), is_colour, None, {})


@pytest.fixture
def result(tiny_model, picture):
    return segment(plane_of(picture), Settings(tiny_model, 0.25), quiet)


def test_what_a_model_offers(tiny_model):
    about = describe(tiny_model)
    assert (about.title, about.score, about.is_semantic) == ("tiny 0.1", 0.25, False)
    assert list(about.depths) == [1, 2, 3]
    assert not describe("nuclei").depths  # it has no nested pyramid


def test_objects_at_a_threshold_are_those_of_predict(result, tiny_model, picture):
    score = float(np.median(result.at(0.05).scores))
    expected = Predictor.load(tiny_model, backend="torch", score_threshold=score)(picture)
    assert 0 < len(expected) < len(result.at(0.05))
    assert np.array_equal(result.at(score).labels(), expected.labels())
    assert len(result.at(0)) == len(result.at(0.05))


def test_a_depth(tiny_model, picture):
    plane, shallow = plane_of(picture), Settings(tiny_model, 0.25, depth=1)
    expected = Predictor.load(tiny_model, opts=["MODEL.NESTED_FPN.DEPTH", "1"])(picture)
    assert np.array_equal(segment(plane, shallow, quiet).at(0.25).scores, expected.scores)


def test_the_table_is_that_of_the_csv(result, tmp_path):
    objects = result.at(0.25)
    result.save(objects, 0.25, ["csv", "labels"], tmp_path / "new")
    rows = list(csv.DictReader((tmp_path / "new" / "cells.csv").open()))
    table = result.table(objects)
    assert table.pop("index") == table["number"] == list(range(1, len(objects) + 1))
    assert list(table) == list(rows[0])
    assert [float(row["score"]) for row in rows] == table["score"]
    labels = tifffile.imread(tmp_path / "new" / "cells.labels.tif")
    assert np.array_equal(labels, objects.labels())
    record = json.loads((tmp_path / "new" / "cells.run.json").read_text())
    assert record["model"] == "tiny 0.1" and record["score_threshold"] == 0.25


def test_every_format_and_again(result, tmp_path):
    names = [name for name, is_there in formats(semantic=False).items() if is_there]
    assert set(names) == {name for name in WRITERS if not WRITERS[name].is_semantic}
    for _ in range(2):
        result.save(result.at(0.25), 0.25, names, tmp_path / "new")
    endings = [WRITERS[name].ending for name in names]
    assert {f.name for f in (tmp_path / "new").iterdir()} == {
        f"cells{e}" for e in (*endings, ".run.json")
    }


def test_what_is_not_ours_stays(result, tmp_path):
    objects = result.at(0.25)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cells.csv").write_text("mine")
    with pytest.raises(ConfigError, match="cells.csv is of another run, and stays"):
        result.save(objects, 0.25, ["labels", "csv"], tmp_path / "a")
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["cells.csv"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="run.json is of another run"):
        result.save(objects, 0.25, ["labels"], tmp_path / "b")
    with pytest.raises(OutputError, match="cannot be written"):
        result.save(objects, 0.25, ["labels"], Path(tmp_path / "a" / "cells.csv" / "folder"))
    with pytest.raises(ConfigError, match="no format is chosen"):
        result.save(objects, 0.25, [], tmp_path / "c")
    with pytest.raises(ConfigError, match="classes is of models of semantic segmentation"):
        result.save(objects, 0.25, ["classes"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_corrections_keep_scores_and_new_objects_are_sure(result):
    objects = result.at(0.25)
    labels = objects.labels().astype(np.int64)
    labels[labels == 1] = 0
    labels[:3, :4] = 10**9  # whatever number its user took
    found = corrected(objects, labels)
    assert found.detections[0].score == 1.0 and found.detections[0].area == 12
    left = set(np.unique(labels).tolist()) - {0, 10**9}
    assert [d.score for d in found][1:] == [objects.detections[k - 1].score for k in sorted(left)]
    assert np.array_equal(found.labels() > 0, labels > 0)
    assert len(corrected(objects, np.zeros_like(labels))) == 0


def test_numbers_of_other_types_are_stretched_and_that_is_said(tiny_model, picture):
    wide = picture.astype(np.uint16) * 200
    result = segment(plane_of(wide), Settings(tiny_model, 0.25), quiet)
    assert "cells is uint16: its 1.0 and 99.8 % percentiles" in result.warnings[0]
    flawed = picture.astype(float)
    flawed[3, 3] = np.nan
    with pytest.raises(DataError, match="cells has values that are NaN"):
        segment(plane_of(flawed), Settings(tiny_model, 0.25), quiet)


def test_channels_that_the_model_does_not_take(tiny_model, picture):
    two = np.stack([picture, picture], axis=2)
    with pytest.raises(DataError, match="takes 3 channels, and of cells 2 would be taken"):
        segment(plane_of(two, is_colour=False), Settings(tiny_model, 0.25), quiet)


def test_a_model_that_does_not_exist_and_a_diameter_that_it_does_not_know(tiny_model, picture):
    with pytest.raises(ConfigError, match="no model 'nuclei2'; did you mean nuclei"):
        segment(plane_of(picture), Settings("nuclei2", 0.5), quiet)
    with pytest.raises(ConfigError, match="tiny 0.1 does not say what diameter"):
        segment(plane_of(picture), Settings(tiny_model, 0.5, diameter=30), quiet)


def test_a_report_ends_the_work(tiny_model, picture):
    def leave(done, count, text):
        if text == "finding objects":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(plane_of(picture), Settings(tiny_model, 0.25), leave)
