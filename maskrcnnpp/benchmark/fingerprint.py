"""What a result depends on, in a form that can be compared."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog

import maskrcnnpp
from maskrcnnpp.config import add_maskrcnnpp_config

# Rooms whose code decides what a model predicts. Metrics and reports are made anew from the
# predictions: changing them must not throw a training away.
_ROOMS = (
    "config.py",
    "config_reader.py",
    "modeling",
    "data",
    "engine",
    "evaluation/coco_evaluation.py",
)


def _digest(*parts: bytes) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()[:16]


def code_fingerprint() -> str:
    """Digest of the package's code that training and prediction run."""
    root = Path(maskrcnnpp.__file__).parent
    files = []
    for room in _ROOMS:
        path = root / room
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    parts = []
    for path in files:
        parts += [path.relative_to(root).as_posix().encode(), path.read_bytes()]
    return _digest(*parts)


def config_fingerprint(cfg: CfgNode) -> str:
    """Digest of what a config trains and predicts: not of where, or how that is judged."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = ""
    cfg.TEST.AREA_BINS = cfg.TEST.EXPECTED_RESULTS = []
    if os.path.isfile(cfg.MODEL.WEIGHTS):  # what is in it, not where it lies
        cfg.MODEL.WEIGHTS = _digest(Path(cfg.MODEL.WEIGHTS).read_bytes())
    _leave_out_defaults(cfg)
    return _digest(cfg.dump().encode())


def _leave_out_defaults(cfg: CfgNode) -> None:
    """Leave out keys of reading and augmentation at their defaults.

    So that a config of before they came has the digest that it had.
    """
    default = get_cfg()
    add_maskrcnnpp_config(default)
    for key, value in default.INPUT.AUGMENT.items():
        if cfg.INPUT.AUGMENT[key] == value:
            del cfg.INPUT.AUGMENT[key]
    for key in ("CHANNELS", "PERCENTILES"):
        if cfg.INPUT[key] == default.INPUT[key]:
            del cfg.INPUT[key]
    if not cfg.INPUT.AUGMENT:
        del cfg.INPUT["AUGMENT"]


def data_fingerprint(cfg: CfgNode) -> str:
    """Digest of the images, annotations and categories of a config's data sets.

    Images count by name and size in bytes. What else a COCO file says, such as who made it, is
    left out.
    """
    parts = []
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        parts.append(name.encode())
        metadata = MetadataCatalog.get(name)
        if not metadata.get("json_file"):
            continue
        coco = json.loads(Path(metadata.json_file).read_text(encoding="utf-8"))
        kept = [coco.get(key) for key in ("images", "annotations", "categories")]
        parts.append(json.dumps(kept, sort_keys=True).encode())
        for image in coco["images"]:
            path = Path(metadata.get("image_root", ""), image.get("file_name", ""))
            parts.append(str(path.stat().st_size if path.is_file() else None).encode())
    return _digest(*parts)
