"""Record of how a training was started, beside its results."""

from __future__ import annotations

import datetime
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm

from maskrcnnpp.data.fingerprint import data_fingerprint
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.files import write_json

logger = logging.getLogger(__name__)

FILE = "runs.json"
_START = "MODEL.WEIGHTS"


def record_start(cfg: CfgNode, *, start_iter: int, seed: int) -> None:
    """Add an entry to ``OUTPUT_DIR/runs.json``; settings that changed since the last are logged.

    Args:
        cfg: of the training.
        start_iter: first iteration, 0 unless it goes on.
        seed: that is in use.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(cfg.OUTPUT_DIR, FILE)
    before = _read(path)
    settings = dict(flat(cfg))
    changed = _changed(before[-1]["settings"], settings) if before and start_iter else {}
    for key, (old, new) in changed.items():
        used = "; it is not read: --resume begins with the last checkpoint" * (key == _START)
        logger.warning("since the last start %s changed from %s to %s%s", key, old, new, used)
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    entry = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "start_iteration": start_iter,
        "processes": comm.get_world_size(),
        "seed": seed,
        "data": {name: data_fingerprint([name]) for name in dict.fromkeys(names)},
        "machine": machine(),
        "versions": versions(),
        "changed": {key: list(pair) for key, pair in changed.items()},
        "settings": settings,
    }
    write_json(path, [*before, entry], indent=1)


def _read(path: Path) -> list[dict[str, Any]]:
    """Entries that are there. A damaged file is kept under another name."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, list) and all("settings" in entry for entry in found):
            return found
        raise ValueError("no list of starts")
    except FileNotFoundError:
        return []
    except (OSError, TypeError, ValueError) as error:
        aside = path.with_suffix(".damaged.json")
        os.replace(path, aside)
        logger.warning("%s is damaged (%s): it is kept as %s", path, error, aside.name)
        return []


def flat(cfg: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Keys of a config by their whole names, and their values as text."""
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", repr(value)


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    keys = {**old, **new}
    pairs = {key: (old.get(key, "not there"), new.get(key, "not there")) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
