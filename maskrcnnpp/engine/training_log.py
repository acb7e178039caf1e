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

    A line that says the total loss is of the iteration at which it was written. What was last put
    before that, such as the loss of a depth that is not in turn, stands in lines of its own, with
    earlier iterations: these are kept, and are no sign of a restart.
    """
    entries: dict[int, dict[str, Any]] = {}
    try:
        lines = Path(output_dir, "metrics.json").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    last = -1
    totals: set[int] = set()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "iteration" not in entry:
            continue
        iteration = entry["iteration"]
        if "total_loss" in entry:
            if iteration <= last:
                kept = max((k for k in entries if k < iteration and k in totals), default=-1)
                entries = {k: v for k, v in entries.items() if k <= kept}
            totals.add(iteration)
            last = iteration
        entries.setdefault(iteration, {}).update(entry)
    return [entries[iteration] for iteration in sorted(entries)]


def seconds_per_iteration(entries: Sequence[dict[str, Any]]) -> float | None:
    """Median over the entries; None where no time was logged."""
    times = [entry["time"] for entry in entries if "time" in entry]
    return statistics.median(times) if times else None
