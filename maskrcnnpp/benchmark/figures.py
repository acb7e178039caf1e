"""Pictures of a benchmark's report, each from results.json alone. PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from maskrcnnpp.benchmark.results import by_arm, of_seeds
from maskrcnnpp.plots import COLORS, new_figure, plain, png, tidy

_SIZES = (("APs", "small"), ("APm", "medium"), ("APl", "large"))
# task and metric of results.json that arms are judged by, and what pictures call it
_KINDS = (("segm", "AP", "mask AP"), ("pixels", "IoU", "IoU of the pixels"))


def figures(results: Mapping[str, Any], dataset: str) -> dict[str, tuple[str, bytes]]:
    """All pictures that the results allow: file name -> (what it shows, PNG)."""
    cost = {plain(arm): found for arm, found in results.get("cost", {}).items()}
    made, latency, trained = {}, {}, {}
    for task, metric, words in _KINDS:
        arms = {plain(arm): trials for arm, trials in by_arm(results, dataset, task).items()}
        if not arms:
            continue
        trained |= arms
        name, title = metric.lower(), words[0].upper() + words[1:]
        values = {arm: of_seeds(trials, dataset, task, metric) for arm, trials in arms.items()}
        made[f"{name}_by_seed.png"] = (
            f"{title} of each training and the mean of each arm",
            _by_seed(values, words),
        )
        if task == "segm":
            made["precision_recall.png"] = (
                "Precision at each recall, mean over seeds: IoU 0.50 (solid) and 0.75 (dashed)",
                _precision_recall(arms, dataset),
            )
            made["ap_by_size.png"] = (
                "Mask AP by object size, mean and sd over seeds",
                _ap_by_size(arms, dataset),
            )
        if cost:
            latency[f"{name}_and_latency.png"] = (
                f"{title} and time an image, end to end",
                _and_latency(values, words, cost),
            )
    words = "Total loss of the trainings; arms with more losses lie higher"
    made |= {"loss.png": (words, _loss(trained)), **latency}
    return {name: entry for name, entry in made.items() if entry[1]}


def _axes(xlabel: str, ylabel: str, height: float = 3.4) -> tuple[Figure, Any]:
    figure = new_figure(7, height)
    axes = tidy(figure.add_subplot())
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def _colors(arms: Mapping[str, Any]) -> dict[str, str]:
    return {arm: COLORS[index % len(COLORS)] for index, arm in enumerate(arms)}


def _by_seed(values_of: Mapping[str, list[float]], metric: str) -> bytes:
    figure, axes = _axes(metric, "", height=0.9 + 0.42 * len(values_of))
    for row, (arm, color) in enumerate(_colors(values_of).items()):
        values = values_of[arm]
        axes.plot(values, [row] * len(values), "o", color=color, alpha=0.7)
        axes.plot([np.mean(values)] * 2, [row - 0.25, row + 0.25], color=color, lw=2.5)
    axes.set_yticks(range(len(values_of)), list(values_of))
    axes.invert_yaxis()
    return png(figure)


def _legend(figure: Figure) -> None:
    # below the axes: with many arms it would lie on what it explains
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _precision_recall(arms: Mapping[str, list], dataset: str) -> bytes:
    figure, axes = _axes("recall", "precision")
    for arm, color in _colors(arms).items():
        for iou, style in (("0.50", "-"), ("0.75", "--")):
            curves = [trial["metrics"][dataset]["precision_recall"].get(iou) for trial in arms[arm]]
            curves = [curve for curve in curves if curve]
            if curves:
                mean = np.mean(curves, axis=0)
                label = arm if style == "-" else None
                axes.plot(np.linspace(0, 1, len(mean)), mean, style, color=color, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    _legend(figure)
    return png(figure)


def _ap_by_size(arms: Mapping[str, list], dataset: str) -> bytes:
    figure, axes = _axes("", "mask AP")
    width = 0.8 / len(arms)
    for index, (arm, color) in enumerate(_colors(arms).items()):
        values = [of_seeds(arms[arm], dataset, "segm", key) for key, _ in _SIZES]
        places = np.arange(len(_SIZES)) + (index - (len(arms) - 1) / 2) * width
        sd = [np.std(v, ddof=1) if len(v) > 1 else 0 for v in values]
        axes.bar(places, [np.mean(v) for v in values], width, yerr=sd, color=color, label=arm)
    axes.set_xticks(range(len(_SIZES)), [label for _, label in _SIZES])
    _legend(figure)
    return png(figure)


def _loss(arms: Mapping[str, list]) -> bytes:
    figure, axes = _axes("iteration", "total loss")
    for arm, color in _colors(arms).items():
        for index, trial in enumerate(t for t in arms[arm] if t.get("curves")):
            curve = trial["curves"]
            label = arm if index == 0 else None
            axes.plot(
                curve["iteration"], curve["total_loss"], color=color, alpha=0.7, lw=1, label=label
            )
    if not axes.lines:
        return b""
    _legend(figure)
    return png(figure)


def _and_latency(
    values_of: Mapping[str, list[float]], metric: str, cost: Mapping[str, Any]
) -> bytes:
    figure, axes = _axes("milliseconds an image (median; lines: quartiles)", metric)
    for arm, color in _colors(values_of).items():
        if arm not in cost:
            continue
        middle, low, high = (1000 * value for value in cost[arm]["latency"]["total"])
        mean = np.mean(values_of[arm])
        axes.plot([low, high], [mean] * 2, color=color, alpha=0.5)
        axes.plot(middle, mean, "o", color=color, label=arm)
    _legend(figure)
    return png(figure)
