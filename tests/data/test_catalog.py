"""The data sets that Detectron2 knows where a config names them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from detectron2.data import Metadata, MetadataCatalog

from maskrcnnpp.data import catalog
from maskrcnnpp.errors import DataError


def test_registering_twice_is_harmless():
    catalog.register_datasets()
    catalog.register_datasets()


def test_the_names_are_free_for_data_of_the_users_own(tmp_path):
    code = """
import maskrcnnpp, maskrcnnpp.engine
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from maskrcnnpp.data.catalog import register_dataset
assert not [name for name in DatasetCatalog if name.startswith(("dsb2018", "synthetic_nuclei"))]
register_coco_instances("dsb2018_train", {}, "mine.json", "mine")
assert register_dataset("dsb2018_train") and not register_dataset("mine_train")
assert MetadataCatalog.get("dsb2018_train").json_file == "mine.json"
"""
    run_python(code, tmp_path)


def test_root_is_the_environment_variable(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/somewhere")
    assert str(catalog.datasets_root()) == os.path.expanduser("~/somewhere")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert str(catalog.datasets_root()) == "datasets"


def run_python(code: str, folder, *argv) -> None:
    """In a fresh Python, where the variable is set before the import, as users do."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *argv],
        env={**os.environ, "DETECTRON2_DATASETS": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_metadata_is_there_before_loading(tmp_path):
    code = """
from pathlib import Path
from detectron2.data import DatasetCatalog, MetadataCatalog
from maskrcnnpp.data.catalog import register_datasets
register_datasets()
for dataset in ("dsb2018", "synthetic_nuclei"):
    for split in ("train", "val", "test"):
        name = f"{dataset}_{split}"
        assert name in DatasetCatalog.list()
        metadata = MetadataCatalog.get(name)
        folder = Path.cwd() / dataset
        assert metadata.json_file == str(folder / "annotations" / f"instances_{split}.json")
        assert metadata.image_root == str(folder / "images")
        assert metadata.evaluator_type == "coco"
        assert metadata.thing_classes == ["nucleus"]
        assert metadata.thing_dataset_id_to_contiguous_id == {1: 0}
"""
    run_python(code, tmp_path)


def test_not_prepared_names_the_command_and_prepared_loads(tmp_path):
    code = """
import shutil, sys
from pathlib import Path
from detectron2.data import DatasetCatalog
from maskrcnnpp.data.catalog import check_dataset_is_prepared, register_datasets
from maskrcnnpp.errors import DataError
register_datasets()
for name, command in [("dsb2018_val", "maskrcnnpp prepare dsb2018 --download"),
                      ("synthetic_nuclei_test", "maskrcnnpp prepare synthetic")]:
    for call in (DatasetCatalog.get, check_dataset_is_prepared):
        try:
            call(name)
            sys.exit("loaded what is not there")
        except DataError as error:
            assert command in str(error), error
from maskrcnnpp import cli
cli.main("prepare synthetic --train 2 --val 1 --test 1 --size 40 50 --count 3 3".split())
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
    run_python(code, tmp_path)


@pytest.mark.parametrize("name", ["coco_2017_val", "dsb2018", "dsb2018_extra", "mine_train"])
def test_names_of_others_pass(name):
    catalog.check_dataset_is_prepared(name)


def register(monkeypatch, name, **fields):
    monkeypatch.setitem(MetadataCatalog.data, name, Metadata(name=name, **fields))


@pytest.mark.parametrize("fields", [{}, {"thing_classes": ["cell"]}])
def test_a_name_registered_by_someone_else_passes(monkeypatch, fields):
    register(monkeypatch, "dsb2018_val", **fields)
    catalog.check_dataset_is_prepared("dsb2018_val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": 1', "cannot be read"),
        ("\xff", "cannot be read"),
        ('{"images": [], "categories": []}', "lists no images"),
        ('{"annotations": []}', "not a COCO annotation file"),
        ("[]", "not a COCO annotation file"),
        ('{"images": [{"id": 1}], "categories": []}', None),
    ],
)
def test_annotations_of_no_use(tmp_path, monkeypatch, text, message):
    path = tmp_path / "instances_val.json"
    path.write_bytes(text.encode("latin-1"))
    register(monkeypatch, "dsb2018_val", json_file=str(path), image_root=str(tmp_path))
    if message is None:
        catalog.check_dataset_is_prepared("dsb2018_val")
        return
    with pytest.raises(DataError, match=f"instances_val.json: {message}") as error:
        catalog.check_dataset_is_prepared("dsb2018_val")
    assert "maskrcnnpp prepare dsb2018" in str(error.value)
