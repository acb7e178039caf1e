"""What a result depends on, in a form that can be compared."""

from __future__ import annotations

import os
from functools import reduce
from operator import getitem
from pathlib import Path

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
    """Digest of what a config trains and predicts: not of where, or how that is judged."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = ""
    cfg.TEST.AREA_BINS = cfg.TEST.EXPECTED_RESULTS = []
    if os.path.isfile(cfg.MODEL.WEIGHTS):  # what is in it, not where it lies
        cfg.MODEL.WEIGHTS = digest(Path(cfg.MODEL.WEIGHTS).read_bytes())
    _leave_out_defaults(cfg)
    return digest(cfg.dump().encode())


#: Keys that came after the first results were recorded.
_LATER = (
    "INPUT.AUGMENT",
    "INPUT.CHANNELS",
    "INPUT.PERCENTILES",
    "MODEL.CHANNELS_LAST",
    "MODEL.COMPILE",
    "MODEL.NESTED_FPN.CHECKPOINTING",
    "MODEL.NESTED_FPN.ENCODER",
    "MODEL.NESTED_UNET",
    "MODEL.SEM_SEG_HEAD.ACTIVATION",
    "MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION",
    "MODEL.SEM_SEG_HEAD.OBJECTS",
    "MODEL.SEM_SEG_HEAD.REGIONS",
    "MODEL.TIMM",
    "SOLVER.ACCUMULATE",
    "SOLVER.AMP.PRECISION",
    "SOLVER.BAD_LOSSES",
    "SOLVER.CHECKPOINTS_KEPT",
    "SOLVER.EMA_DECAY",
    "TEST.BEST_METRIC",
    "TEST.LOSS",
    "TEST.PATIENCE",
    "TEST.PICTURES",
)


def _leave_out_defaults(cfg: CfgNode) -> None:
    """Leave out later keys at their defaults.

    So that a config of before they came has the digest that it had.
    """
    default = get_cfg()
    add_maskrcnnpp_config(default)
    for key in _LATER:
        *path, name = key.split(".")
        _leave_out(reduce(getitem, path, cfg), reduce(getitem, path, default), name)


def _leave_out(node: CfgNode, default: CfgNode, name: str) -> None:
    if isinstance(node[name], CfgNode):
        for key in list(node[name]):
            _leave_out(node[name], default[name], key)
        if not node[name]:
            del node[name]
    elif node[name] == default[name]:
        del node[name]
