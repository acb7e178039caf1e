"""The data sets that ``import maskrcnnpp`` makes known to Detectron2.

They lie below the folder named by the environment variable DETECTRON2_DATASETS, as it is when
this module is imported, default ``datasets`` in the current folder:

    <root>/<data set>/images/*.png
    <root>/<data set>/annotations/instances_{train,val,test}.json
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from maskrcnnpp.errors import DataError

THING_CLASSES = ["nucleus"]
SPLITS = ("train", "val", "test")

# What to run, from the checkout's folder, to get each data set.
_PREPARE_COMMANDS = {
    "dsb2018": "python datasets/prepare_dsb2018.py --download",
    "synthetic_nuclei": "python datasets/prepare_synthetic.py",
}


def datasets_root() -> Path:
    """The folder that holds the prepared data sets; relative paths stay relative."""
    return Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")))


def annotation_file(folder: str | Path, split: str) -> Path:
    """Where the annotations of a split lie in a data set's folder."""
    return Path(folder) / "annotations" / f"instances_{split}.json"


def register_datasets() -> None:
    """Register the data sets of this project; names that are registered already stay as they are.

    ``dsb2018_train``, ``dsb2018_val``, ``dsb2018_test`` and the same for ``synthetic_nuclei``.
    """
    for dataset in _PREPARE_COMMANDS:
        folder = datasets_root() / dataset
        for split in SPLITS:
            name = f"{dataset}_{split}"
            if name in DatasetCatalog:
                continue
            DatasetCatalog.register(name, partial(_load, name))
            MetadataCatalog.get(name).set(
                json_file=str(annotation_file(folder, split)),
                image_root=str(folder / "images"),
                evaluator_type="coco",
                thing_classes=list(THING_CLASSES),
            )


def check_dataset_is_prepared(name: str) -> None:
    """Raise a DataError with the command to run when a data set of this project is not on disk.

    Names that are not this project's pass; Detectron2 checks those itself.
    """
    dataset, _, split = name.rpartition("_")
    if dataset not in _PREPARE_COMMANDS or split not in SPLITS:
        return
    metadata = MetadataCatalog.get(name)
    for path, there in ((metadata.json_file, os.path.isfile), (metadata.image_root, os.path.isdir)):
        if not there(path):
            raise DataError(
                f"data set {name} is not prepared: {os.path.abspath(path)} does not exist. "
                f"Run, from the folder of the checkout:\n  {_PREPARE_COMMANDS[dataset]}\n"
                "or set DETECTRON2_DATASETS to the folder that holds "
                f"{dataset}/ before Python starts."
            )


def _load(name: str) -> list[dict]:
    from detectron2.data.datasets.coco import load_coco_json

    check_dataset_is_prepared(name)
    metadata = MetadataCatalog.get(name)
    return load_coco_json(metadata.json_file, metadata.image_root, name)


register_datasets()
