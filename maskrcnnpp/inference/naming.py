"""What images and classes are called in the outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from maskrcnnpp.data.coco_file import load_coco_truth
from maskrcnnpp.data.own_files import register_file
from maskrcnnpp.errors import ConfigError, DataError


@dataclass(frozen=True)
class Naming:
    """Names and COCO ids."""

    category_names: Sequence[str]  #: of the model's 0, 1, ...
    category_ids: Sequence[int]
    image_ids: Mapping[str, Any] | None = None  #: by the file's name; None: the name is the id

    def image_id(self, file: Path) -> Any:
        """Of an image of this name.

        Raises:
            DataError: the annotations have no such image.
        """
        if self.image_ids is None:
            return file.name
        if file.name not in self.image_ids:
            raise DataError(f"{file}: the annotations have no image of this name")
        return self.image_ids[file.name]


def find_naming(cfg: CfgNode, annotations: str | os.PathLike | None = None) -> Naming:
    """Of the data set that is predicted on, or else of the one that the model was trained on.

    Args:
        cfg: of the model. Where its DATASETS.TRAIN is not registered here, classes are "class 1",
            "class 2", ... with the ids 1, 2, ...
        annotations: COCO file whose ids of images and categories are taken.

    Raises:
        ConfigError: the data has not as many classes as the model.
        DataError: the annotations cannot be read, or two of its images have one name.
    """
    if annotations is not None:
        return _of_annotations(cfg, annotations)
    count = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    names, ids = [f"class {k + 1}" for k in range(count)], list(range(1, count + 1))
    for name in cfg.DATASETS.TRAIN:
        with contextlib.suppress(DataError):  # it need not be on this machine
            register_file(name)
        if name not in MetadataCatalog.list():
            continue
        metadata = MetadataCatalog.get(name)
        names = list(metadata.get("thing_classes", names))
        mapping = metadata.get("thing_dataset_id_to_contiguous_id", {})
        ids = [key for key, _ in sorted(mapping.items(), key=lambda pair: pair[1])] or ids
    _check_count(cfg, len(names), "the data of DATASETS.TRAIN")
    _check_count(cfg, len(ids), "the data of DATASETS.TRAIN")
    return Naming(names, ids)


def _of_annotations(cfg: CfgNode, path: str | os.PathLike) -> Naming:
    found = load_coco_truth(path)
    # in the order in which Detectron2 numbers them
    categories = sorted(found["categories"], key=lambda category: category["id"])
    _check_count(cfg, len(categories), str(path))
    image_ids: dict[str, Any] = {}
    for image in found["images"]:
        name = Path(str(image.get("file_name"))).name
        if name in image_ids:
            raise DataError(f"{path}: two images have the name {name!r}, which tells them apart")
        image_ids[name] = image["id"]
    names = [category["name"] for category in categories]
    return Naming(names, [category["id"] for category in categories], image_ids)


def _check_count(cfg: CfgNode, count: int, where: str) -> None:
    if count != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        raise ConfigError(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {cfg.MODEL.ROI_HEADS.NUM_CLASSES}, but {where} has "
            f"{count} classes"
        )
