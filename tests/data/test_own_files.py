"""Data sets that are named by their files."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from maskrcnnpp.config_reader import build_config
from maskrcnnpp.data.coco import CocoDatasetWriter
from maskrcnnpp.data.own_files import folder_name, register_file
from maskrcnnpp.data.synthetic import synthetic_samples
from maskrcnnpp.engine.setup import check_datasets
from maskrcnnpp.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    with CocoDatasetWriter(tmp_path / "my set", info={}) as writer:
        for sample in synthetic_samples(2, height=64, width=64, count=(3, 4)):
            writer.add(sample)
        writer.commit({"train": list(writer.records)})
    return tmp_path / "my set"


def test_a_file_and_its_images(folder):
    file = folder / "annotations" / "instances_train.json"
    for name in (str(file), f"{file}:{folder / 'images'}"):
        assert register_file(name) and register_file(name)
        found = DatasetCatalog.get(name)
        assert len(found) == 2 and len(found[0]["annotations"]) >= 3
        metadata = MetadataCatalog.get(name)
        assert metadata.thing_classes == ["nucleus"] and metadata.mask_format == "bitmask"
        assert "/" not in folder_name(name) and ":" not in folder_name(name)
    assert not register_file("coco_2017_train") and folder_name("coco_2017_train")[:4] == "coco"


def test_files_that_are_not_there(folder, tmp_path):
    file = folder / "annotations" / "instances_train.json"
    with pytest.raises(DataError, match="nowhere.json: cannot be read as a COCO"):
        register_file("nowhere.json")
    with pytest.raises(DataError, match="nowhere is no folder; name that of the images"):
        register_file(f"{file}:nowhere")
    with pytest.raises(DataError, match="png is not there; name the folder of the images"):
        register_file(f"{file}:{tmp_path}")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match="not a COCO annotation file"):
        register_file(str(tmp_path / "a.json"))


def test_a_config_that_names_files(folder):
    file = folder / "annotations" / "instances_train.json"
    words = ["DATASETS.TRAIN", f"('{file}',)", "DATASETS.TEST", f"('{file}',)"]
    quick = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"
    check_datasets(build_config(quick, words))
    with pytest.raises(ConfigError, match="named by its files: annotations.json:folder"):
        check_datasets(build_config(quick, ["DATASETS.TEST", "('mine',)"]), eval_only=True)
    polygons = [*words, "INPUT.MASK_FORMAT", "polygon"]
    with pytest.raises(ConfigError, match="run-length encoded: set it to"):
        check_datasets(build_config(quick, polygons))
    truth = json.loads(file.read_text())
    truth["categories"].append({"id": 2, "name": "cell"})
    (folder / "two.json").write_text(json.dumps(truth))
    two = ["DATASETS.TEST", f"('{folder / 'two.json'}',)"]
    with pytest.raises(ConfigError, match="NUM_CLASSES is 1, but .* has 2 classes: nucleus, cell"):
        check_datasets(build_config(quick, two), eval_only=True)
