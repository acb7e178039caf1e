import json

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from maskrcnnpp import add_maskrcnnpp_config
from maskrcnnpp.benchmark import fingerprint
from maskrcnnpp.data.fingerprint import data_fingerprint


@pytest.fixture
def cfg(tmp_path):
    coco = {"info": {}, "images": [{"id": 1}], "annotations": [], "categories": []}
    (tmp_path / "a.json").write_text(json.dumps(coco))
    DatasetCatalog.register("fingerprint_test", list)
    MetadataCatalog.get("fingerprint_test").set(json_file=str(tmp_path / "a.json"))
    cfg = get_cfg()
    add_maskrcnnpp_config(cfg)
    cfg.DATASETS.TRAIN = ("fingerprint_test",)
    yield cfg
    DatasetCatalog.remove("fingerprint_test")
    MetadataCatalog.remove("fingerprint_test")


def test_data_is_told_apart_by_its_content(cfg, tmp_path):
    first = data_fingerprint((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    coco = {"images": [{"id": 1}], "annotations": [], "categories": [], "info": {"by": "us"}}
    (tmp_path / "a.json").write_text(json.dumps(coco))
    assert data_fingerprint((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) == first
    coco["images"][0]["id"] = 2
    (tmp_path / "a.json").write_text(json.dumps(coco))
    assert data_fingerprint((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)) != first


def test_a_config_is_told_apart_but_not_by_where_it_goes_or_how_it_is_judged(cfg):
    first = fingerprint.config_fingerprint(cfg)
    cfg.OUTPUT_DIR = "elsewhere"
    cfg.TEST.AREA_BINS = [1, 2]
    assert fingerprint.config_fingerprint(cfg) == first
    cfg.SOLVER.MAX_ITER += 1
    assert fingerprint.config_fingerprint(cfg) != first


def test_new_keys_count_where_they_are_set(cfg, monkeypatch):
    first = fingerprint.config_fingerprint(cfg)

    def add_one_key_more(node):
        add_maskrcnnpp_config(node)
        node.MODEL.NEW_KEY = 1

    monkeypatch.setattr(fingerprint, "add_maskrcnnpp_config", add_one_key_more)
    cfg.MODEL.NEW_KEY = 1
    assert fingerprint.config_fingerprint(cfg) == first
    found = {first}
    cfg.MODEL.NEW_KEY = 2
    found.add(fingerprint.config_fingerprint(cfg))
    for key, value in (("CHANNELS", [0]), ("PERCENTILES", [1, 99]), ("AUGMENT.ROT90", True)):
        cfg.merge_from_list([f"INPUT.{key}", value])
        found.add(fingerprint.config_fingerprint(cfg))
    assert len(found) == 5


def test_images_are_told_apart_by_their_size(cfg, tmp_path):
    coco = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [], "categories": []}
    (tmp_path / "a.json").write_text(json.dumps(coco))
    MetadataCatalog.get("fingerprint_test").set(image_root=str(tmp_path))
    found = [data_fingerprint((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))]
    for content in (b"one", b"three"):
        (tmp_path / "1.png").write_bytes(content)
        found.append(data_fingerprint((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    assert len(set(found)) == 3


def test_weights_are_told_apart_by_what_is_in_them(cfg, tmp_path):
    found = []
    for name, content in (("a.pth", b"one"), ("b.pth", b"one"), ("a.pth", b"two")):
        (tmp_path / name).write_bytes(content)
        cfg.MODEL.WEIGHTS = str(tmp_path / name)
        found.append(fingerprint.config_fingerprint(cfg))
    assert found[0] == found[1] != found[2]


def test_code_is_told_apart(tmp_path, monkeypatch):
    for room in fingerprint._ROOMS:
        path = tmp_path / room
        path.parent.mkdir(exist_ok=True)
        path.write_text("") if path.suffix else path.mkdir()
    (tmp_path / "modeling" / "a.py").write_text("a = 1")
    monkeypatch.setattr(fingerprint.maskrcnnpp, "__file__", str(tmp_path / "__init__.py"))
    first = fingerprint.code_fingerprint()
    (tmp_path / "report.py").write_text("shown otherwise")
    assert fingerprint.code_fingerprint() == first
    (tmp_path / "modeling" / "a.py").write_text("a = 2")
    assert fingerprint.code_fingerprint() != first
