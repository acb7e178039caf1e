"""Names of images and classes in the outputs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnnpp.coco.categories import (
    are_same_names,
    class_metadata,
    classes_fault,
    numbers_of_names,
)
from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Naming:
    """Names and COCO ids."""

    category_names: Sequence[str]  #: of the model's 0, 1, ...
    category_ids: Sequence[int]
    image_ids: Mapping[str, Any] | None = None  #: by the file's name; None: the name is the id

    def image_id(self, file: Path) -> Any:
        """Id of an image, by the name of its file.

        Raises:
            DataError: the annotations have no such image.
        """
        if self.image_ids is None:
            return file.name
        if file.name not in self.image_ids:
            raise DataError(f"{file}: the annotations have no image of this name")
        return self.image_ids[file.name]


def find_naming(
    cfg: CfgNode,
    annotations: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
) -> Naming:
    """Names and ids of the data set that is predicted on, or else of the model's training data.

    Args:
        cfg: of the model. Where its DATASETS.TRAIN is neither registered nor a file here, classes
            are "class 1", "class 2", ... with the ids 1, 2, ...
        annotations: COCO file whose ids of images and categories are taken.
        classes: names that the model's card has, in its order.

    Raises:
        ConfigError: the data has not as many classes as the model, or classes of the same names in
            an order that cannot be resolved.
        DataError: the annotations cannot be read, or two of its images have one name.
    """
    from maskrcnnpp.data.semantic import is_semantic  # of PyTorch, as all of data/ is

    key, count = _class_count(cfg)
    if annotations is not None:
        return _of_annotations(annotations, key, count, _of_training(cfg)[0])
    if is_semantic(cfg) and cfg.MODEL.SEM_SEG_HEAD.REGIONS:
        return _of_regions(cfg)
    trained, ids = (list(classes), []) if classes else _of_training(cfg)
    names = trained or [f"class {k + 1}" for k in range(count)]
    ids = ids or list(range(1, count + 1))
    _check_count(key, count, len(names), "the data of DATASETS.TRAIN")
    _check_count(key, count, len(ids), "the data of DATASETS.TRAIN")
    return Naming(names, ids)


def naming_of(
    names: Sequence[str], ids: Sequence[int], annotations: str | os.PathLike | None = None
) -> Naming:
    """Names and ids for an exported model; see :func:`find_naming`.

    Args:
        names, ids: of its classes.
    """
    if annotations is None:
        return Naming(names, ids)
    return _of_annotations(annotations, "the number of the model's classes", len(ids), names)


def _of_training(cfg: CfgNode) -> tuple[list[str], list[int]]:
    """Names and ids of the classes of DATASETS.TRAIN; empty where they are not known."""
    from maskrcnnpp.data.named_by_file import known_classes

    names: list[str] = []
    ids: list[int] = []
    for name in cfg.DATASETS.TRAIN:
        try:
            classes = known_classes(name)
        except DataError as error:  # it need not be on this machine
            logger.warning("names and ids of the classes are not known: %s", error)
            continue
        names = list(classes.get("thing_classes", names))
        mapping = classes.get("thing_dataset_id_to_contiguous_id", {})
        ids = [key for key, _ in sorted(mapping.items(), key=lambda pair: pair[1])] or ids
    return names, ids


def _of_annotations(
    path: str | os.PathLike, key: str, count: int, trained: Sequence[str]
) -> Naming:
    found = load_coco_truth(path)
    classes = class_metadata(found["categories"])
    names, ids = classes["thing_classes"], list(classes["thing_dataset_id_to_contiguous_id"])
    _check_count(key, count, len(ids), str(path))
    names, ids = _in_order_of_model(trained, names, ids, path)
    image_ids: dict[str, Any] = {}
    for image in found["images"]:
        file = Path(str(image.get("file_name"))).name
        if file in image_ids:
            raise DataError(f"{path}: two images have the name {file!r}, which tells them apart")
        image_ids[file] = image["id"]
    return Naming(names, ids, image_ids)


def _in_order_of_model(
    trained: Sequence[str], names: Sequence[str], ids: Sequence[int], path: str | os.PathLike
) -> tuple[list[str], list[int]]:
    """Names and ids of a file in the order of the model's classes, which have names of their own.

    Raises:
        ConfigError: some names are in another order, others are not of the model.
    """
    if len(trained) != len(names) or are_same_names(trained, names):
        return list(names), list(ids)
    if (order := numbers_of_names(trained, names)) is not None:
        return [names[k] for k in order], [ids[k] for k in order]
    theirs = f"the model has the classes {', '.join(trained)}, {path} has {', '.join(names)}"
    if fault := classes_fault(trained, names):
        raise ConfigError(f"{theirs}: {fault}; name the categories as the model's classes")
    logger.warning("%s: matched by their order", theirs)
    return list(names), list(ids)


def _of_regions(cfg: CfgNode) -> Naming:
    """Names and ids of classes that are made of several labels."""
    regions = cfg.MODEL.SEM_SEG_HEAD.REGIONS
    names = ["labels " + " ".join(map(str, labels)) for labels in regions]
    return Naming(names, list(range(1, len(names) + 1)))


def _class_count(cfg: CfgNode) -> tuple[str, int]:
    """The key that says how many classes there are, and how many beside the background."""
    from maskrcnnpp.data.semantic import is_semantic

    if not is_semantic(cfg):
        return "MODEL.ROI_HEADS.NUM_CLASSES", cfg.MODEL.ROI_HEADS.NUM_CLASSES
    head = cfg.MODEL.SEM_SEG_HEAD
    return "MODEL.SEM_SEG_HEAD.NUM_CLASSES", head.NUM_CLASSES - (head.ACTIVATION == "softmax")


def _check_count(key: str, wanted: int, count: int, where: str) -> None:
    if count != wanted:
        raise ConfigError(f"{key} is {wanted}, but {where} has {count} classes")
