"""What a run was made with, beside its outputs: enough to repeat it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.files import write_json

if TYPE_CHECKING:
    from detectron2.config import CfgNode

RECORD_FILE = "run.json"
# of a config: where and how fast it runs, not what comes out
_WITHOUT_EFFECT = ("MODEL.DEVICE", "MODEL.WEIGHTS", "OUTPUT_DIR", "DATALOADER", "SOLVER", "SEED")


def config_settings(cfg: CfgNode) -> str:
    """A config as text, without what makes no difference to what is predicted."""
    cfg = cfg.clone()
    cfg.defrost()
    for key in _WITHOUT_EFFECT:
        *path, last = key.split(".")
        node = cfg
        for name in path:
            node = node[name]
        del node[last]
    return cfg.dump()


def start_record(
    output_dir: Path, settings: Mapping[str, Any], about: Mapping[str, Any], *, is_fresh: bool
) -> None:
    """Write run.json, or add to it where it is of the same settings.

    Args:
        settings: what decides the outputs.
        about: of this call: command, machine, versions.
        is_fresh: there are no outputs yet, so that other settings may take the place of those.

    Raises:
        ConfigError: the folder is of a run with other settings.
        DataError: it cannot be written to.
    """
    path = output_dir / RECORD_FILE
    record = {"settings": json.loads(json.dumps(settings)), "calls": []}  # tuples as JSON has them
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            before, record["calls"] = dict(found["settings"]), list(found["calls"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(
                f"{path} is not a record of a run ({error}): choose another --output"
            ) from error
        now = record["settings"]
        differing = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        if differing and not is_fresh:
            raise ConfigError(
                f"{output_dir} holds a run with other settings ({', '.join(differing)}), which is "
                "not mixed in: choose another --output"
            )
    record["calls"].append(dict(about))
    write_json(path, record, indent=1)


def add_scales(output_dir: Path, scales: Mapping[str, float]) -> None:
    """Add to run.json by which factors images were resized for the model, by their names."""
    path = output_dir / RECORD_FILE
    record = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**record, "scales": dict(scales)}, indent=1)


def digest(path: str | os.PathLike) -> str:
    """Of a file's content, to tell checkpoints apart."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
