"""COCO's results format, which pycocotools and Detectron2 read."""

from __future__ import annotations

from pathlib import Path

from maskrcnnpp.files import write_json_list
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info


def write_coco(objects: Objects, info: Info, path: Path) -> None:
    """A list of detections with ``image_id``, ``bbox`` and RLE masks."""
    write_json_list(path, objects.iter_coco(info.image_id, info.naming.category_ids))
