"""Reading metrics.json, the file of Detectron2's ``JSONWriter``: a JSON object a line."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_training_log(output_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """Entries of a training's metrics.json by rising iteration; none where there is no file.

    The file is only ever appended to. Where a training went on at a checkpoint or began anew in
    the same folder, the entries that it replaced are left out, as is a half-written last line.
    """
    entries: list[dict[str, Any]] = []
    try:
        lines = Path(output_dir, "metrics.json").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "iteration" not in entry:
            continue
        while entries and entries[-1]["iteration"] >= entry["iteration"]:
            entries.pop()
        entries.append(entry)
    return entries


def seconds_per_iteration(entries: Sequence[dict[str, Any]]) -> float | None:
    """Median over the entries; None where no time was logged."""
    times = [entry["time"] for entry in entries if "time" in entry]
    return statistics.median(times) if times else None
