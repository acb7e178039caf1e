"""Record of a run, beside its outputs: enough to repeat it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.files import write_json
from maskrcnnpp.lock import LOCK_FILE, check_not_in_use

if TYPE_CHECKING:
    from detectron2.config import CfgNode

RECORD_FILE = "run.json"
# of a shard beside it; the group is all that differs between the shards of one job
_SHARD_FILE = re.compile(r"run_\d+_(of_\d+)\.json")
# of a config: where and how fast it runs, not what comes out
_WITHOUT_EFFECT = (
    *("MODEL.DEVICE", "MODEL.WEIGHTS", "OUTPUT_DIR", "DATALOADER", "SOLVER", "SEED", "TRACKER"),
)


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


def record_file(shard: tuple[int, int] | None) -> str:
    """Name of the record: ``run.json``, or of the k-th of n shards ``run_k_of_n.json``."""
    return RECORD_FILE.replace(".", "_{}_of_{}.".format(*shard)) if shard else RECORD_FILE


def lock_file(record: str) -> str:
    """Name of the lock of the run that has this record."""
    return LOCK_FILE + record.removeprefix("run").removesuffix(".json")


def records(output_dir: Path) -> list[Path]:
    """The records in a folder, of the run as a whole and of shards."""
    return sorted(
        path
        for path in (output_dir.iterdir() if output_dir.is_dir() else ())
        if path.name == RECORD_FILE or _SHARD_FILE.fullmatch(path.name)
    )


def check_alone(output_dir: Path, record: str) -> None:
    """Check that no other run could write what this one writes: shards of one job may.

    Call it with the lock of this run held.

    Args:
        record: name of this run's.

    Raises:
        UserError: one could.
    """
    ours = _SHARD_FILE.fullmatch(record)
    for lock in output_dir.glob(f"{LOCK_FILE}*"):
        theirs = _SHARD_FILE.fullmatch(lock.name.replace(LOCK_FILE, "run") + ".json")
        are_shards = ours and theirs and ours[1] == theirs[1]
        if lock.name != lock_file(record) and not are_shards:
            check_not_in_use(lock)


def _made_with(calls: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """Model and version of the last call, where they are others than now."""
    was = calls[-1] if calls else {}
    parts = [("", was.get("model"), about.get("model"))]
    both = (entry.get("versions", {}).get("maskrcnnpp") for entry in (was, about))
    parts += [("maskrcnnpp ", *both)]
    of = [f"{name}{before}" for name, before, now in parts if before and before != now]
    return f"; made with {' and '.join(of)}" if of else ""


def start_record(
    path: Path, settings: Mapping[str, Any], about: Mapping[str, Any], *, is_fresh: bool
) -> None:
    """Write a record, or add to it where it and all others of its folder are of the same settings.

    Args:
        path: of :func:`record_file`.
        settings: what decides the outputs.
        about: of this call: command, machine, versions.
        is_fresh: there are no outputs yet, so that other settings may take the place of those.

    Raises:
        ConfigError: the folder is of a run with other settings.
        DataError: it cannot be written to.
        UserError: a shard with other settings is at work.
    """
    now = json.loads(json.dumps(settings))  # tuples as JSON has them
    record: dict[str, Any] = {"settings": now, "calls": []}
    for other in records(path.parent):
        try:
            found = json.loads(other.read_text(encoding="utf-8"))
            before, calls = dict(found["settings"]), list(found["calls"])
        except FileNotFoundError:  # another shard removed it, as below
            continue
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(
                f"{other} is not a record of a run ({error}): choose another --output"
            ) from error
        differing = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        if differing and not is_fresh:
            raise ConfigError(
                f"{path.parent} holds a run with other settings ({', '.join(differing)}"
                f"{_made_with(calls, about)}), which is not mixed in: choose another --output"
            )
        if other == path:
            record["calls"] = calls
        elif differing:  # of a shard that made nothing
            check_not_in_use(other.with_name(lock_file(other.name)))
            other.unlink(missing_ok=True)
    record["calls"].append(dict(about))
    write_json(path, record, indent=1)


def backend_of(folder: str | os.PathLike) -> str | None:
    """Backend of the run that a folder holds; None if it holds none that can be read."""
    for path in records(Path(folder)):
        try:
            return json.loads(path.read_text(encoding="utf-8"))["settings"].get("backend", "torch")
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # start_record says what is wrong with it
    return None


def add_scales(path: Path, scales: Mapping[str, float]) -> None:
    """Add to a record by which factors images were resized for the model, by their names."""
    record = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**record, "scales": dict(scales)}, indent=1)


def digest(path: str | os.PathLike) -> str:
    """Digest of a file's content, to tell it from others."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()[:16]
