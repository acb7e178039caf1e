"""Reading and writing results.json, the file of ``maskrcnnpp benchmark``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from maskrcnnpp.benchmark.statistics import welch_p
from maskrcnnpp.errors import DataError
from maskrcnnpp.files import write_text

RESULTS_FILE = "results.json"
#: Of the layout of results.json. Raised when an older file would be misread.
FORMAT = 2

Trial = Mapping[str, Any]


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a results.json.

    Raises:
        DataError: it is missing or not one.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            results = json.load(handle)
        results["trials"][0]["metrics"]
        results["evaluation"]["datasets"]
        found = results.get("format", 1)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: not a results.json of maskrcnnpp benchmark: {error}") from error
    if found != FORMAT:
        raise DataError(
            f"{path} is of format {found}, this version reads format {FORMAT}: run the benchmark "
            "again with the same --output-dir, which keeps its trainings"
        )
    return results


def save(path: str | os.PathLike, results: Mapping[str, Any]) -> None:
    """Write a results.json, in which the numbers of a metric, of a curve and so on are one line."""
    write_text(path, _text(results))


def _text(value: Any, indent: str = "") -> str:
    is_mapping = isinstance(value, Mapping)
    entries = value.values() if is_mapping else value if isinstance(value, list) else ()
    if not any(isinstance(entry, (Mapping, list)) for entry in entries):
        return json.dumps(value)
    parts = [_text(entry, f"{indent} ") for entry in entries]
    if is_mapping:
        parts = [f"{json.dumps(key)}: {part}" for key, part in zip(value, parts)]
    begin, end = "{}" if is_mapping else "[]"
    return f"{begin}\n{indent} " + f",\n{indent} ".join(parts) + f"\n{indent}{end}"


def datasets(results: Mapping[str, Any]) -> list[str]:
    """The data sets that were evaluated; the last one is what the verdict is about."""
    return list(results["evaluation"]["datasets"])


def by_arm(results: Mapping[str, Any], dataset: str, task: str = "segm") -> dict[str, list[Trial]]:
    """Trials of each arm that has some of ``task``, sorted by seed; arms in the order given.

    Args:
        task: see :func:`of_seeds`.
    """
    arms: dict[str, list[Trial]] = {}
    for trial in results["trials"]:
        if task in trial["metrics"].get(dataset, {}):
            arms.setdefault(trial["arm"], []).append(trial)
    return {arm: sorted(trials, key=lambda trial: trial["seed"]) for arm, trials in arms.items()}


def of_seeds(trials: Sequence[Trial], dataset: str, task: str, metric: str) -> list[float]:
    """One metric of each trial, nan where it could not be computed.

    Args:
        task: "segm" or "bbox" (COCO's metrics, percent), "shown" (of shown objects, 0..1) or
            "pixels" (of a semantic prediction, percent).
    """
    values = [trial["metrics"][dataset].get(task, {}).get(metric) for trial in trials]
    return [float("nan") if value is None else value for value in values]


def iou_gains(
    results: Mapping[str, Any], arm: str, other: str, dataset: str
) -> tuple[list[float], float]:
    """The gain in IoU of pixels over another arm, of each seed that both have; and Welch's p."""
    arms = by_arm(results, dataset, "pixels")
    values, others = (
        dict(zip((t["seed"] for t in trials), of_seeds(trials, dataset, "pixels", "IoU")))
        for trials in (arms.get(arm, []), arms.get(other, []))
    )
    gains = [value - others[seed] for seed, value in values.items() if seed in others]
    return gains, welch_p(list(values.values()), list(others.values()))


def difference_of(
    results: Mapping[str, Any], arm: str, other: str, dataset: str
) -> Mapping[str, Mapping[str, float | None]]:
    """``arm`` minus ``other`` on ``dataset``: metric -> mean, low, high, p_value; empty if unknown.

    Every arm is compared with the reference, and the judged arm with every other.
    """
    return results["differences"].get(dataset, {}).get(arm, {}).get(other, {})
