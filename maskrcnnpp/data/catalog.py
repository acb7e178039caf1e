"""The data sets of this project, which Detectron2 knows from where a config names them.

``import maskrcnnpp`` registers none: the names are free for data sets of the user's own. They lie
below the folder that the environment variable DETECTRON2_DATASETS names, default ``datasets`` in
the current folder:

    <root>/<data set>/images/*.png
    <root>/<data set>/annotations/instances_{train,val,test}.json
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from maskrcnnpp.coco.categories import NUCLEUS_CATEGORIES, class_metadata
from maskrcnnpp.coco.file import load_records, read_coco
from maskrcnnpp.errors import DataError

SPLITS = ("train", "val", "test")

# What to run, from the checkout's folder, to get each data set.
_PREPARE_COMMANDS = {
    "dsb2018": "maskrcnnpp prepare dsb2018 --download",
    "synthetic_nuclei": "maskrcnnpp prepare synthetic",
}


def datasets_root() -> Path:
    """The folder that holds the prepared data sets; relative paths stay relative."""
    return Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")))


def annotation_file(folder: str | Path, split: str) -> Path:
    """Where the annotations of a split lie in a data set's folder."""
    return Path(folder) / "annotations" / f"instances_{split}.json"


def register_datasets() -> None:
    """Register all data sets of this project, for code that does not use this project's trainer.

    ``dsb2018_train``, ``dsb2018_val``, ``dsb2018_test`` and the same for ``synthetic_nuclei``.
    """
    for dataset in _PREPARE_COMMANDS:
        for split in SPLITS:
            register_dataset(f"{dataset}_{split}")


def register_dataset(name: str) -> bool:
    """Make a data set of this project known to Detectron2.

    Returns:
        whether the name is of one. A name that is registered already stays as it is.
    """
    dataset, _, split = name.rpartition("_")
    if dataset not in _PREPARE_COMMANDS or split not in SPLITS:
        return False
    if name not in DatasetCatalog:
        folder = datasets_root() / dataset
        DatasetCatalog.register(name, partial(_load, name))
        MetadataCatalog.get(name).set(
            json_file=str(annotation_file(folder, split)),
            image_root=str(folder / "images"),
            evaluator_type="coco",
            mask_format="bitmask",
            **class_metadata(NUCLEUS_CATEGORIES),
        )
    return True


def check_dataset_is_prepared(name: str) -> None:
    """Raise a DataError with the command to run when a data set of this project cannot be read.

    That is: its images or annotations are not on disk, or the annotations list no image. Names
    that are not this project's pass, and so do those that someone else registered without these
    files; Detectron2 checks those itself.
    """
    dataset, _, split = name.rpartition("_")
    if dataset not in _PREPARE_COMMANDS or split not in SPLITS:
        return
    metadata = MetadataCatalog.get(name)
    json_file, image_root = metadata.get("json_file"), metadata.get("image_root")
    for path, there in ((json_file, os.path.isfile), (image_root, os.path.isdir)):
        if path is not None and not there(path):
            raise _not_prepared(name, f"{os.path.abspath(path)} does not exist")
    if json_file is not None:
        try:
            if not read_coco(json_file)["images"]:
                raise DataError(f"{json_file}: lists no images")
        except DataError as error:
            reason = str(error).removeprefix(str(json_file))
            raise _not_prepared(name, f"{os.path.abspath(json_file)}{reason}") from error


def _not_prepared(name: str, problem: str) -> DataError:
    dataset = name.rpartition("_")[0]
    return DataError(
        f"data set {name} is not prepared: {problem}. "
        f"Run:\n  {_PREPARE_COMMANDS[dataset]}\n"
        f"or set DETECTRON2_DATASETS to the folder that holds {dataset}/ before Python starts."
    )


def has_rle_masks(name: str) -> bool:
    """Whether a data set is known to need ``INPUT.MASK_FORMAT: "bitmask"``."""
    return MetadataCatalog.get(name).get("mask_format") == "bitmask"


def _load(name: str) -> list[dict]:
    check_dataset_is_prepared(name)
    metadata = MetadataCatalog.get(name)
    return load_records(metadata.json_file, metadata.image_root, name)
