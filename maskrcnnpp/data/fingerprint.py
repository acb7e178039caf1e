"""Data sets in a form that can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from detectron2.data import MetadataCatalog

from maskrcnnpp.coco.file import read_coco
from maskrcnnpp.data.semantic import LABEL_FILE


def digest(*parts: bytes) -> str:
    """16 hexadecimal digits that differ where the parts do."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()[:16]


def data_fingerprint(names: Iterable[str]) -> str:
    """Digest of the images, annotations and categories of data sets that Detectron2 knows.

    Images count by name and size in bytes. What else a COCO file says, such as who made it, is
    left out. A data set without a COCO file counts by its name.
    """
    parts = []
    for name in names:
        parts.append(name.encode())
        metadata = MetadataCatalog.get(name)
        if not metadata.get("json_file"):
            continue
        coco = read_coco(metadata.json_file)
        kept = [coco.get(key) for key in ("images", "annotations", "categories")]
        parts.append(json.dumps(kept, sort_keys=True).encode())
        for image in coco["images"]:
            path = Path(metadata.get("image_root", ""), image.get("file_name", ""))
            parts.append(_size(path))
            if LABEL_FILE in image:
                parts.append(_size(Path(metadata.json_file).parent / image[LABEL_FILE]))
    return digest(*parts)


def _size(path: Path) -> bytes:
    return str(path.stat().st_size if path.is_file() else None).encode()
