"""Digests of the code and the config that a result depends on, so that they can be compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

import maskrcnnpp
from maskrcnnpp.config import add_maskrcnnpp_config
from maskrcnnpp.data.fingerprint import digest

# Rooms whose code decides what a model predicts. Metrics and reports are made anew from the
# predictions: changing them must not throw a training away.
_ROOMS = (
    "config.py",
    "config_reader.py",
    "modeling",
    "masks",
    "images",
    "coco",
    "data",
    "engine",
    "evaluation/coco_evaluation.py",
)


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
    return digest(*parts)


def config_fingerprint(cfg: CfgNode) -> str:
    """Digest of what a config trains and predicts: not of where, or how that is judged.

    Keys at their defaults do not count, so that a new key leaves the digests of old configs alone.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = cfg.TRACKER.NAME = cfg.TRACKER.PROJECT = ""
    cfg.TEST.AREA_BINS = cfg.TEST.EXPECTED_RESULTS = []
    if os.path.isfile(cfg.MODEL.WEIGHTS):  # what is in it, not where it lies
        cfg.MODEL.WEIGHTS = digest(Path(cfg.MODEL.WEIGHTS).read_bytes())
    default = get_cfg()
    add_maskrcnnpp_config(default)
    default.OUTPUT_DIR = default.TRACKER.NAME = default.TRACKER.PROJECT = ""
    default.TEST.AREA_BINS = default.TEST.EXPECTED_RESULTS = []
    usual = dict(_leaves(default))
    changed = {key: value for key, value in _leaves(cfg) if usual.get(key) != value}
    return digest(repr(sorted(changed.items())).encode())


def _leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by their whole keys."""
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, list(value) if isinstance(value, tuple) else value
