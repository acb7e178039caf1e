#!/usr/bin/env python
"""Draw accuracy against the length of the training: stock and fast.

    python docs/benchmarks/schedule.py

Measures nothing: it reads */results.json and ablations.json beside it. Writes schedule.md,
schedule.png and the verdict in docs/results.md.
"""

from __future__ import annotations

import json
import shlex
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnnpp.benchmark.report import quote
from maskrcnnpp.benchmark.results import load
from maskrcnnpp.benchmark.tables import markdown_table, mean_and_sd
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.files import write_bytes, write_text
from maskrcnnpp.plots import COLORS, new_figure, png, tidy

HERE = Path(__file__).resolve().parent
RESULTS, RESULTS_PAGE = sorted(HERE.glob("*/results.json")), HERE.parent / "results.md"
STOCK, FAST, DATASET = "stock", "fast", "dsb2018_val"
ARMS = {
    "configs/cpu/mask_rcnn_lite0_FPN.yaml": STOCK,
    "configs/cpu/maskrcnnpp_lite0_fast.yaml": FAST,
}
_OF_SCHEDULE = {"SOLVER.MAX_ITER", "SOLVER.STEPS"}


class Point(NamedTuple):
    """AP of an arm after so many iterations, of each seed."""

    masks: list[float]
    boxes: list[float]


def measured(
    trials: Sequence[Mapping[str, Any]], ablations: Sequence[Mapping[str, Any]]
) -> dict[str, dict[int, Point]]:
    """By arm and iterations, both rising. Of a seed trained several times the first counts.

    Args:
        trials: of benchmarks.
        ablations: rows of ablations.json. Those that change no more than the schedule count.
    """
    found: dict[tuple[str, int], dict[int, tuple[float, float]]] = {}
    for config, iterations, seed, metrics in _trainings(trials, ablations):
        both = (metrics["segm"]["AP"], metrics["bbox"]["AP"])
        found.setdefault((ARMS[config], iterations), {}).setdefault(seed, both)
    points: dict[str, dict[int, Point]] = {arm: {} for arm in ARMS.values()}
    for arm, iterations in sorted(found):
        masks, boxes = zip(*found[arm, iterations].values())
        points[arm][iterations] = Point(list(masks), list(boxes))
    return points


def _trainings(
    trials: Sequence[Mapping[str, Any]], ablations: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, int, int, Mapping[str, Any]]]:
    for trial in trials:
        if trial["config_file"] in ARMS and DATASET in trial["metrics"]:
            metrics = trial["metrics"][DATASET]
            yield trial["config_file"], trial["iterations"], trial["seed"], metrics
    for row in ablations:
        _, config, *changes = shlex.split(row["arguments"])
        is_plain = config in ARMS and row["dataset"] == DATASET
        if is_plain and set(changes[::2]) <= _OF_SCHEDULE:
            yield config, row["iterations"], row["seed"], row


def table(points: Mapping[str, Mapping[int, Point]]) -> str:
    arms = [arm for arm in points if points[arm]]
    rows = []
    for iterations in sorted({n for arm in arms for n in points[arm]}):
        cells = [str(iterations)]
        for arm in arms:
            point = points[arm].get(iterations)
            cells += (
                [mean_and_sd(point.masks, 1), mean_and_sd(point.boxes, 1), str(len(point.masks))]
                if point
                else ["", "", ""]
            )
        rows.append(cells)
    headers = [f"{arm}, {what}" for arm in arms for what in ("mask AP", "box AP", "seeds")]
    return markdown_table(["iterations", *headers], rows)


def verdict(points: Mapping[str, Mapping[int, Point]]) -> str:
    """What doubling the training brings each of the two, and what is left between them."""
    lengths = sorted(points[STOCK].keys() & points[FAST].keys())
    parts = []
    for iterations in lengths:
        stock, fast = (points[arm][iterations] for arm in (STOCK, FAST))
        ahead = [
            statistics.mean(getattr(fast, name)) - statistics.mean(getattr(stock, name))
            for name in Point._fields
        ]
        seeds = f"{len(fast.masks)} and {len(stock.masks)} seeds"
        parts.append(f"{ahead[0]:+.1f} and {ahead[1]:+.1f} after {iterations} iterations ({seeds})")
    gains = [
        f"from {one} to {other} iterations stock gains "
        f"{_mean(points, STOCK, other) - _mean(points, STOCK, one):+.1f} mask AP and `{FAST}` "
        f"{_mean(points, FAST, other) - _mean(points, FAST, one):+.1f}"
        for one, other in zip(lengths, lengths[1:])
    ]
    text = f"On {DATASET}, `{FAST}` is ahead of stock in mask and box AP by {'; '.join(parts)}."
    if gains:
        text += f" {'; '.join(gains)}.".replace(" from", " From", 1)
    return textwrap.fill(text, 108, break_on_hyphens=False)


def _mean(points: Mapping[str, Mapping[int, Point]], arm: str, iterations: int) -> float:
    return statistics.mean(points[arm][iterations].masks)


def picture(points: Mapping[str, Mapping[int, Point]]) -> bytes:
    figure = new_figure(7, 4)
    axes = tidy(figure.subplots())
    for (arm, of_arm), color in zip(points.items(), COLORS):
        if not of_arm:
            continue
        means = [statistics.mean(point.masks) for point in of_arm.values()]
        axes.plot(list(of_arm), means, "o-", color=color, label=arm)
        for iterations, point in of_arm.items():
            axes.plot([iterations] * 2, [min(point.masks), max(point.masks)], color=color, lw=1)
    lengths = sorted({n for of_arm in points.values() for n in of_arm})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(n) for n in lengths])
    axes.set_xlabel("iterations of the training")
    axes.set_ylabel(f"mask AP on {DATASET}")
    axes.legend(loc="lower right", frameon=False)
    return png(figure)


def page(points: Mapping[str, Mapping[int, Point]]) -> str:
    lines = [
        "# How long a training goes on",
        "",
        "Nuclei of DSB2018, configs/cpu with SOLVER.MAX_ITER and STEPS alone changed: the learning",
        f"rate falls after two thirds and after nine tenths. AP on {DATASET}, mean and (sd) over",
        "seeds. Each row is trainings of their own, from ImageNet weights. Written by",
        "`python docs/benchmarks/schedule.py`.",
        "",
        "![Mask AP over iterations](schedule.png)",
        "",
        table(points),
        "",
        verdict(points),
        "",
    ]
    return "\n".join(lines)


def read() -> dict[str, dict[int, Point]]:
    trials = [trial for file in RESULTS for trial in load(file)["trials"]]
    ablations = json.loads((HERE / "ablations.json").read_text(encoding="utf-8"))
    return measured(trials, ablations)


def main() -> None:
    points = read()
    write_bytes(HERE / "schedule.png", picture(points))
    write_text(HERE / "schedule.md", page(points))
    text = RESULTS_PAGE.read_text(encoding="utf-8")
    write_text(RESULTS_PAGE, quote(text, "schedule", verdict(points)))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
