"""Trials to tables. Every number shown comes from results.json, none is typed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from maskrcnnpp.errors import DataError
from maskrcnnpp.files import write_json, write_text

RESULTS_FILE = "results.json"
REPORT_FILE = "report.md"

HOW_TO_READ = """\
- An arm is a config file; each row names the one it was trained with.
- AP is COCO's mask AP over IoU 0.50:0.95 in percent, counting as many detections an image as the
  config lets the model give (not COCO's 100).
- Columns "seed n" are single trainings; with the same seed all arms see the same images, crops and
  flips in the same order. "mean" and "sd" (n - 1) are over seeds.
- "difference" is the mean over seeds of an arm's AP minus the first arm's with the same seed,
  with the sd of these differences. A difference smaller than its sd is noise.
"""


def collect(results: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """What results.json holds: the trials as they were kept, and how they came about."""
    return {"command": command, "trials": list(results)}


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a results.json.

    Raises:
        DataError: it is missing or not one.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            results = json.load(handle)
        results["trials"][0]["metrics"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: not a results.json of tools/benchmark.py: {error}") from error
    return results


def by_arm(results: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Trials of each arm, sorted by seed; arms in the order they were given."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for trial in results["trials"]:
        arms.setdefault(trial["arm"], []).append(trial)
    return {arm: sorted(trials, key=lambda trial: trial["seed"]) for arm, trials in arms.items()}


def ap_table(results: Mapping[str, Any], dataset: str, page_dir: str | os.PathLike = ".") -> str:
    """Markdown table of mask AP: a row an arm, a column a seed, mean, sd, difference.

    Args:
        page_dir: folder of the page that will hold the table, for the links to the configs.
    """
    arms = by_arm(results)
    seeds = sorted({trial["seed"] for trial in results["trials"]})
    values = {
        arm: {trial["seed"]: _number(trial["metrics"][dataset]["segm"]["AP"]) for trial in trials}
        for arm, trials in arms.items()
    }
    first = next(iter(values.values()))
    rows = []
    for arm, trials in arms.items():
        of_seed = values[arm]
        shared = [of_seed[seed] - first[seed] for seed in of_seed if seed in first]
        rows.append(
            [
                f"[{arm}]({_link(trials[0]['config_file'], page_dir)})",
                *(f"{of_seed[seed]:.1f}" if seed in of_seed else "" for seed in seeds),
                *_mean_and_sd(list(of_seed.values())),
                " ± ".join(_mean_and_sd(shared, sign=True)) if of_seed is not first else "",
            ]
        )
    headers = ["arm", *(f"seed {seed}" for seed in seeds), "mean", "sd", "difference"]
    return _table(headers, rows)


def overview_table(results: Mapping[str, Any], dataset: str) -> str:
    """Markdown table of each arm's mean metrics and training cost."""
    rows = []
    for arm, trials in by_arm(results).items():
        segm = [trial["metrics"][dataset]["segm"] for trial in trials]
        bbox = [trial["metrics"][dataset]["bbox"] for trial in trials]
        row = [arm]
        row += [
            f"{np.mean([_number(m[name]) for m in segm]):.1f}" for name in ("AP", "AP50", "AP75")
        ]
        row.append(f"{np.mean([_number(m['AP']) for m in bbox]):.1f}")
        times = [t["seconds_per_iteration"] for t in trials if t["seconds_per_iteration"]]
        row.append(f"{np.median(times):.2f}" if times else "")
        rows.append(row)
    headers = ["arm", "mask AP", "mask AP50", "mask AP75", "box AP", "training s/iteration"]
    return _table(headers, rows)


def report_lines(results: Mapping[str, Any], page_dir: str | os.PathLike = ".") -> list[str]:
    """The report as Markdown lines, for a page in the folder ``page_dir``."""
    lines = ["# Benchmark", "", "## How to read the tables", "", HOW_TO_READ]
    for dataset in results["trials"][0]["metrics"]:
        lines += [f"## {dataset}", "", ap_table(results, dataset, page_dir), ""]
        lines += ["Means over seeds:", "", overview_table(results, dataset), ""]
    lines += ["## How it was run", "", provenance(results), ""]
    return lines


def provenance(results: Mapping[str, Any]) -> str:
    """Machine, versions and command in a few Markdown lines."""
    trials = results["trials"]
    lines = [f"- command: `{results['command']}`"]
    for key in ("machine", "versions"):
        distinct = {json.dumps(trial[key], sort_keys=True) for trial in trials}
        for words in sorted(distinct):
            entries = json.loads(words)
            lines.append(f"- {key}: " + ", ".join(f"{k} {v}" for k, v in entries.items()))
    threads = sorted({(trial["threads"], trial["trainings_at_a_time"]) for trial in trials})
    for count, jobs in threads:
        lines.append(f"- {jobs} training(s) at a time, {count} thread(s) each")
    data = sorted({trial["fingerprint"]["data"] for trial in trials})
    code = sorted({trial["fingerprint"]["code"] for trial in trials})
    lines.append(f"- fingerprint of the data {', '.join(data)}, of the code {', '.join(code)}")
    return "\n".join(lines)


def write_reports(output_dir: Path, results: Mapping[str, Any]) -> None:
    """Write results.json and report.md."""
    write_json(output_dir / RESULTS_FILE, results, indent=1)
    write_text(output_dir / REPORT_FILE, "\n".join(report_lines(results, output_dir)))


def quote(page: str, name: str, text: str) -> str:
    """``page`` with the part between ``<!-- name -->`` and ``<!-- /name -->`` replaced by ``text``.

    Raises:
        DataError: the page has no such pair of marks.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise DataError(f"the page needs the marks {begin} and {end} once, to quote between them")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def _link(config_file: str, page_dir: str | os.PathLike) -> str:
    # config files are named from the checkout's folder, where the tools are run
    return Path(os.path.relpath(config_file, page_dir)).as_posix()


def _number(value: float | None) -> float:
    # results.json has null where a metric could not be computed
    return float("nan") if value is None else value


def _mean_and_sd(values: Sequence[float], sign: bool = False) -> tuple[str, str]:
    mean = np.mean(values) if values else float("nan")
    sd = f"{np.std(values, ddof=1):.1f}" if len(values) > 1 else "n/a"
    return (f"{mean:+.1f}" if sign else f"{mean:.1f}"), sd


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align)
