"""Names of images and classes in the outputs."""

import json

import pytest
from detectron2.data import DatasetCatalog

from maskrcnnpp.engine import build_config
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.inference.naming import find_naming

QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"


def config(train, classes=2):
    return build_config(
        QUICK, ["DATASETS.TRAIN", f"('{train}',)", "MODEL.ROI_HEADS.NUM_CLASSES", str(classes)]
    )


@pytest.fixture
def file(tmp_path):
    """A COCO file of two categories, not in the order of their ids; its images are not here."""
    truth = {
        "images": [{"id": 31, "file_name": "sub/a.png", "height": 9, "width": 9}],
        "categories": [{"id": 12, "name": "cell"}, {"id": 7, "name": "nucleus"}],
        "annotations": [],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    return path


def test_classes_of_the_file_that_was_trained_on(file):
    naming = find_naming(config(file))
    assert (naming.category_names, naming.category_ids) == (["nucleus", "cell"], [7, 12])
    assert str(file) not in DatasetCatalog
    with pytest.raises(ConfigError, match="NUM_CLASSES is 3, but the data of DATASETS.TRAIN has 2"):
        find_naming(config(file, classes=3))


def test_ids_and_images_of_given_annotations(file):
    naming = find_naming(config("dsb2018_train"), file)
    assert (naming.category_names, naming.category_ids) == (["nucleus", "cell"], [7, 12])
    assert naming.image_id(file.with_name("a.png")) == 31
    with pytest.raises(DataError, match="b.png: the annotations have no image of this name"):
        naming.image_id(file.with_name("b.png"))


def test_of_data_that_is_not_here_classes_have_numbers(tmp_path, caplog):
    naming = find_naming(config("nobodys_data"))
    assert (naming.category_names, naming.category_ids) == (["class 1", "class 2"], [1, 2])
    assert not caplog.records
    naming = find_naming(config(tmp_path / "gone.json"))
    assert naming.category_names == ["class 1", "class 2"]
    assert "classes are not known" in caplog.text and "gone.json" in caplog.text


def test_a_data_set_of_this_project_need_not_be_loaded():
    naming = find_naming(config("dsb2018_train", classes=1))
    assert (naming.category_names, naming.category_ids) == (["nucleus"], [1])


@pytest.mark.parametrize("names", [("cell", "nucleus"), ("Nucleus", "CELL "), ("nucleus", "cell")])
def test_classes_of_annotations_are_found_by_their_names(file, tmp_path, names):
    """The model's classes are nucleus and cell, of the ids 7 and 12, in whatever order of ids."""
    truth = json.loads(file.read_text())
    truth["categories"] = [{"id": k + 1, "name": name} for k, name in enumerate(names)]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(truth))
    naming = find_naming(config(file), other)
    plain = [name.strip().lower() for name in naming.category_names]
    assert plain == ["nucleus", "cell"]
    by_id = {c["id"]: c["name"] for c in truth["categories"]}
    assert [by_id[k] for k in naming.category_ids] == naming.category_names


def test_classes_of_annotations_that_cannot_be_told_apart(file, tmp_path, caplog):
    truth = json.loads(file.read_text())
    other = tmp_path / "other.json"
    truth["categories"] = [{"id": 1, "name": "debris"}, {"id": 2, "name": "nucleus"}]
    other.write_text(json.dumps(truth))
    with pytest.raises(ConfigError, match="'nucleus' is class 1 of the former and 2 of the latter"):
        find_naming(config(file), other)
    truth["categories"][1]["name"] = "cytoplasm"
    other.write_text(json.dumps(truth))
    assert find_naming(config(file), other).category_ids == [1, 2]
    assert "nucleus, cell" in caplog.text and "matched by their order" in caplog.text
