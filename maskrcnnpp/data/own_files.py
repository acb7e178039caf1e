"""Data sets that are named by their COCO file, such as ``DATASETS.TRAIN "('my.json:images',)"``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json

from maskrcnnpp.data.coco_file import load_coco_truth
from maskrcnnpp.errors import DataError

_NAME = re.compile(r"(?P<file>.+\.json)(?::(?P<images>.+))?")
_UNSAFE = re.compile(r"[^\w.=+-]+")


def register_file(name: str) -> bool:
    """Make a data set known to Detectron2 that is named by its files.

    Args:
        name: ``FILE.json:FOLDER``, COCO annotations and the folder of their images. Without a
            folder that is ``images`` beside the file or above it (as ``annotations/`` and
            ``images/`` of this project's converters), or else the folder of the file.

    Returns:
        whether the name is of this form. One that is known already stays as it is.

    Raises:
        DataError: a file or folder is not there, or is no COCO.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    if name in DatasetCatalog:
        return True
    file = Path(match["file"])
    root = Path(match["images"]) if match["images"] else _images_of(file)
    truth = load_coco_truth(file)
    if not root.is_dir():
        raise DataError(f"{name}: {root} is no folder; name that of the images: {file}:FOLDER")
    for image in truth["images"][:1]:
        path = root / str(image.get("file_name"))
        if not path.is_file():
            raise DataError(
                f"{name}: {path} is not there; name the folder of the images: {file}:FOLDER"
            )
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    masks = (a.get("segmentation") for a in truth.get("annotations", ()))
    has_rle = any(isinstance(mask, dict) for mask in masks)
    DatasetCatalog.register(name, lambda: load_coco_json(str(file), str(root), name))
    MetadataCatalog.get(name).set(
        json_file=str(file),
        image_root=str(root),
        evaluator_type="coco",
        thing_classes=[category["name"] for category in categories],
        **({"mask_format": "bitmask"} if has_rle else {}),
    )
    return True


def folder_name(dataset: str) -> str:
    """What the folder of a data set's results is called: its name, or what a path can be."""
    return _UNSAFE.sub("_", dataset).strip("_") if _NAME.fullmatch(dataset) else dataset


def _images_of(file: Path) -> Path:
    places = (file.parent / "images", file.parent.parent / "images")
    return next((place for place in places if os.path.isdir(place)), file.parent)
