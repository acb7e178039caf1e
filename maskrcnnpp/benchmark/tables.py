"""Tables of a benchmark as Markdown. Every number comes from results.json, none is typed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from tabulate import tabulate

from maskrcnnpp.benchmark.cost import PARTS, STAGES
from maskrcnnpp.benchmark.results import (
    Trial,
    by_arm,
    datasets,
    difference_of,
    iou_gains,
    of_seeds,
)
from maskrcnnpp.benchmark.scoring import COMPARED, PIXELS, SHOWN
from maskrcnnpp.benchmark.statistics import CONFIDENCE, SIGNIFICANCE
from maskrcnnpp.package_files import PREFIX, config_folder

_COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")


def ap_table(results: Mapping[str, Any], dataset: str, page_dir: str | os.PathLike = ".") -> str:
    """Mask AP: a row an arm, a column a seed, mean, sd, and the difference from the first arm.

    Args:
        page_dir: folder of the page that will hold the table, for the links to the configs.
    """
    arms = by_arm(results, dataset)
    seeds = sorted({trial["seed"] for trials in arms.values() for trial in trials})
    rows = []
    for arm, trials in arms.items():
        found = difference_of(results, arm, results["reference"], dataset)
        values = dict(zip((t["seed"] for t in trials), of_seeds(trials, dataset, "segm", "AP")))
        rows.append(
            [
                arm_link(arm, trials[0], page_dir),
                *(_text(values.get(seed), 1) for seed in seeds),
                *_mean_and_sd(list(values.values()), 1),
                _interval(found["AP"], 1) if found else "",
            ]
        )
    headers = ["arm", *(f"seed {seed}" for seed in seeds), "mean", "sd"]
    headers.append(f"difference ({CONFIDENCE:.0%})")
    return markdown_table(headers, [*rows, *_failed_rows(results)])


def _failed_rows(results: Mapping[str, Any]) -> list[list[str]]:
    failed = results.get("failed", {}).items()
    return [[name, f"failed: {problem}".replace("|", "/")] for name, problem in failed]


def pixels_table(
    results: Mapping[str, Any], dataset: str, page_dir: str | os.PathLike = "."
) -> str:
    """IoU and Dice of the pixels: a row an arm that predicts these, and its gain in IoU.

    Args:
        page_dir: see :func:`ap_table`.
    """
    rows = []
    for arm, trials in by_arm(results, dataset, "pixels").items():
        rows.append(
            [
                arm_link(arm, trials[0], page_dir),
                f"{results['parameters'][arm] / 1e6:.2f}",
                len(trials),
                *(mean_and_sd(of_seeds(trials, dataset, "pixels", name)) for name in PIXELS),
                *gain_cells(results, arm, results["reference"], dataset),
            ]
        )
    headers = ["arm", "M parameters", "seeds", *PIXELS.values(), "IoU, gain", "p"]
    return markdown_table(headers, [*rows, *_failed_rows(results)])


def gain_cells(results: Mapping[str, Any], arm: str, other: str, dataset: str) -> list[str]:
    """Gain in IoU over another arm, mean and sd, such as "+1.2 (0.3)", and Welch's p.

    Both are empty for an arm and itself, and where the two share no seed.
    """
    gains, p_value = iou_gains(results, arm, other, dataset)
    if arm == other or not gains:
        return ["", ""]
    sign = "+" if np.mean(gains) >= 0 else ""
    return [sign + mean_and_sd(gains), _text(p_value, 3)]


def coco_table(results: Mapping[str, Any], dataset: str) -> str:
    """COCO's metrics: mean over seeds, sd in brackets."""
    rows = []
    for arm, trials in by_arm(results, dataset).items():
        cells = [mean_and_sd(of_seeds(trials, dataset, "segm", name), 1) for name in _COCO]
        rows.append([arm, *cells, mean_and_sd(of_seeds(trials, dataset, "bbox", "AP"), 1)])
    return markdown_table(["arm", *(f"mask {name}" for name in _COCO), "box AP"], rows)


def shown_table(results: Mapping[str, Any], dataset: str) -> str:
    """Metrics of the objects above the score threshold: mean over seeds, sd in brackets."""
    rows = []
    for arm, trials in by_arm(results, dataset).items():
        thresholds = {t["metrics"][dataset]["score_threshold"] for t in trials}
        shown_from = ["all" if t is None else f"{t:g}" for t in thresholds]
        cells = [
            mean_and_sd(of_seeds(trials, dataset, "shown", name), 1 if "count" in name else 3)
            for name in SHOWN
        ]
        rows.append([arm, ", ".join(sorted(shown_from)), *cells])
    return markdown_table(["arm", "score from", *SHOWN.values()], rows)


def reference_table(results: Mapping[str, Any], dataset: str) -> str:
    """Every arm minus the reference: a row an arm, a column a metric; bold where it holds up."""
    reference = results["reference"]
    found = {a: difference_of(results, a, reference, dataset) for a in by_arm(results, dataset)}
    return _difference_table("arm", found)


def lead_table(results: Mapping[str, Any], dataset: str) -> str:
    """The judged arm minus all others but the reference, row by row; empty if there are none."""
    judged = results["judged"]
    others = [arm for arm in by_arm(results, dataset) if arm != results["reference"]]
    found = {arm: difference_of(results, judged, arm, dataset) for arm in others}
    return _difference_table(f"{judged} minus", found) if any(found.values()) else ""


def _difference_table(header: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, metrics in found.items():
        cells = []
        for metric in COMPARED if metrics else ():
            text = _interval(metrics[metric], 1 if metric == "AP" else 3)
            if (p_value := metrics[metric]["p_value"]) is not None:
                text += f", p {p_value:.3f}"
            cells.append(f"**{text}**" if holds_up(metrics[metric]) else text)
        if cells:
            rows.append([name, *cells])
    return markdown_table(
        [header, *(SHOWN.get(metric, f"mask {metric}") for metric in COMPARED)], rows
    )


def cost_tables(results: Mapping[str, Any]) -> str:
    """Parameters and FLOPs by part; latency by stage, memory and training time."""
    cost = results["cost"]
    reference = cost.get(results["reference"])
    height, width = next(iter(cost.values()))["image_size"]
    parts = [*(p for p in PARTS if any(x["parameters"].get(p) for x in cost.values())), "total"]
    size_rows = []
    for arm, found in cost.items():
        for what, divisor in (("parameters", 1e6), ("flops", 1e9)):
            unit = "M parameters" if what == "parameters" else "G multiply-adds"
            size_rows.append(
                [arm, unit, *(_text(found[what].get(p, 0) / divisor, 2) for p in parts)]
            )
    stages = [*(s for s in STAGES if any(s in x["latency"] for x in cost.values())), "total"]
    time_rows = []
    for arm, found in cost.items():
        latency = found["latency"]
        middle, low, high = latency["total"]
        ratio = f"{middle / reference['latency']['total'][0]:.2f}" if reference else ""
        time_rows.append(
            [
                arm,
                *(_text(1000 * latency[s][0], 0) if s in latency else "" for s in stages),
                f"{1000 * low:.0f} to {1000 * high:.0f}",
                ratio,
                _text(found["peak_memory"], 0),
                _text(found["training"][0], 2),
            ]
        )
    time_headers = ["arm", *stages, "quartiles of the total"]
    time_headers += ["to the first", "peak memory, MiB", "training, s/iteration"]
    return "\n".join(
        [
            f"Size; multiply-adds of one {height}x{width} image:",
            "",
            markdown_table(["arm", "", *parts], size_rows),
            "",
            "Milliseconds an image, medians, arms alternating image by image:",
            "",
            markdown_table(time_headers, time_rows),
        ]
    )


def made_with(key: str, entries: Mapping[str, Any]) -> str:
    """A Markdown line of what a result came from, such as ``machine`` or ``versions``."""
    return f"- {key}: " + ", ".join(f"{name} {value}" for name, value in entries.items())


def verdict(results: Mapping[str, Any]) -> str:
    """Two sentences: the judged arm against the reference, and what holds up of the others.

    It is about mask AP, or about IoU where the data has no objects.
    """
    dataset = datasets(results)[-1]
    has_objects = bool(by_arm(results, dataset))
    arms = by_arm(results, dataset, "segm" if has_objects else "pixels")
    first, last = results["reference"], results["judged"]
    missing = [arm for arm in (first, last) if arm not in arms]
    if missing:
        return f"There is no verdict: no training of {' or '.join(missing)} finished."
    if first == last:
        return f"On {dataset} only {first} was trained: there is nothing to compare."
    if has_objects:
        task, metric, words = "segm", "AP", "a mask AP"
        found = difference_of(results, last, first, dataset).get(metric)
        gain, is_clear = (_interval(found, 1), holds_up(found)) if found else ("", False)
    else:
        task, metric, words = "pixels", "IoU", "an IoU"
        gain, _ = gain_cells(results, last, first, dataset)
        is_clear = iou_gains(results, last, first, dataset)[1] < SIGNIFICANCE
    if not gain:
        return f"There is no verdict: {last} and {first} have no seed in common."
    means = {arm: np.mean(of_seeds(arms[arm], dataset, task, metric)) for arm in (first, last)}
    text = (
        f"On {dataset}, {last} reaches {words} of {means[last]:.1f} and {first} one of "
        f"{means[first]:.1f} (means of {len(arms[last])} and {len(arms[first])} seeds); the "
        f"difference of {gain} {'holds up' if is_clear else 'does not hold up'}."
    )
    others = {
        arm: lead["AP"]
        for arm in arms
        if arm != first and (lead := difference_of(results, last, arm, dataset))
    }
    groups = {
        "is ahead of": [arm for arm, lead in others.items() if holds_up(lead, side=1)],
        "is behind": [arm for arm, lead in others.items() if holds_up(lead, side=-1)],
        "cannot be told apart from": [
            arm for arm, lead in others.items() if not holds_up(lead) and _can_hold_up(lead)
        ],
        "has too few runs beside": [a for a, lead in others.items() if not _can_hold_up(lead)],
    }
    clauses = [f"{word} {', '.join(names)}" for word, names in groups.items() if names]
    return text + (f" Of the other rows, in mask AP, it {' and '.join(clauses)}." * bool(clauses))


def _can_hold_up(found: Mapping[str, float | None]) -> bool:
    return found["p_value"] is not None


def holds_up(found: Mapping[str, float | None], side: int = 0) -> bool:
    """Whether the interval lies on one side of zero and the seeds differ.

    Args:
        found: of ``differences`` in results.json.
        side: 1 or -1 asks for that side of zero.
    """
    low, high, p_value = found["low"], found["high"], found["p_value"]
    if low is None or high is None or p_value is None or p_value >= SIGNIFICANCE:
        return False
    return (side >= 0 and low > 0) or (side <= 0 and high < 0)


def arm_link(arm: str, trial: Trial, page_dir: str | os.PathLike = ".") -> str:
    """An arm, linked to its config."""
    if "config_file" not in trial:
        return f"{arm} (not trained here)"
    return f"[{arm}]({config_link(trial['config_file'], page_dir)})"


def config_link(config_file: str, page_dir: str | os.PathLike) -> str:
    # config files are named from the checkout's folder, where the tools are run
    if config_file.startswith(PREFIX):
        config_file = str(config_folder() / config_file.removeprefix(PREFIX))
    return quote(Path(os.path.relpath(config_file, page_dir)).as_posix())


def _interval(found: Mapping[str, float | None], digits: int) -> str:
    if found["mean"] is None or found["low"] is None:
        return "n/a"
    mean, low, high = found["mean"], found["low"], found["high"]
    return f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def _mean_and_sd(values: Sequence[float], digits: int) -> tuple[str, str]:
    mean = float(np.mean(values)) if len(values) else float("nan")
    sd = f"{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "n/a"
    return _text(mean, digits), sd


def mean_and_sd(values: Sequence[float], digits: int = 1) -> str:
    """Such as "88.3 (0.2)"; without an sd for one value, "n/a" where one is nan."""
    mean, sd = _mean_and_sd(values, digits)
    return mean if sd == "n/a" or mean == "n/a" else f"{mean} ({sd})"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, words: int = 1) -> str:
    """The first columns to the left, the others to the right; short rows end in empty cells.

    Args:
        words: how many columns hold words.
    """
    rows = [[*row, *[""] * (len(headers) - len(row))] for row in rows]
    align = ["left"] * words + ["right"] * (len(headers) - words)
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align)
