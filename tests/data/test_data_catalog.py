"""The names Detectron2 knows after ``import maskrcnnpp``."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from maskrcnnpp.data import catalog

NAMES = [f"{d}_{s}" for d in ("dsb2018", "synthetic_nuclei") for s in ("train", "val", "test")]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_there_before_loading(name):
    assert name in DatasetCatalog.list()
    metadata = MetadataCatalog.get(name)
    dataset, split = name.rsplit("_", 1)
    root = catalog.datasets_root()
    assert metadata.json_file == str(root / dataset / "annotations" / f"instances_{split}.json")
    assert metadata.image_root == str(root / dataset / "images")
    assert metadata.evaluator_type == "coco"
    assert metadata.thing_classes == ["nucleus"]


def test_registering_twice_is_harmless():
    importlib.reload(catalog)
    catalog.register_datasets()


def test_root_is_the_environment_variable(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/somewhere")
    assert str(catalog.datasets_root()) == os.path.expanduser("~/somewhere")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert str(catalog.datasets_root()) == "datasets"


def test_not_prepared_names_the_command_and_prepared_loads(tmp_path):
    """In a fresh Python, where the variable is set before the import, as users do."""
    code = """
import shutil, sys
from pathlib import Path
import maskrcnnpp
from detectron2.data import DatasetCatalog
from maskrcnnpp.data.catalog import check_dataset_is_prepared
from maskrcnnpp.errors import DataError
for name, command in [("dsb2018_val", "python datasets/prepare_dsb2018.py --download"),
                      ("synthetic_nuclei_test", "python datasets/prepare_synthetic.py")]:
    for call in (DatasetCatalog.get, check_dataset_is_prepared):
        try:
            call(name)
            sys.exit("loaded what is not there")
        except DataError as error:
            assert command in str(error), error
sys.path.insert(0, sys.argv[1])
import prepare_synthetic
prepare_synthetic.main("--train 2 --val 1 --test 0 --size 40 50 --count 3 3".split())
records = DatasetCatalog.get("synthetic_nuclei_train")
assert len(records) == 2 and len(records[0]["annotations"]) == 3
assert (records[0]["height"], records[0]["width"]) == (40, 50)
assert Path(records[0]["file_name"]).is_file()
assert records[0]["annotations"][0]["category_id"] == 0

shutil.rmtree(Path(records[0]["file_name"]).parent)
try:
    check_dataset_is_prepared("synthetic_nuclei_train")
    sys.exit("did not notice that the images are gone")
except DataError as error:
    assert "images does not exist" in str(error), error
"""
    scripts = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "datasets"))
    env = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, scripts],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["coco_2017_val", "dsb2018", "dsb2018_extra", "mine_train"])
def test_names_of_others_pass(name):
    catalog.check_dataset_is_prepared(name)
