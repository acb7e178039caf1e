#!/usr/bin/env python
"""Draw accuracy against time: each depth of Mask R-CNN++, and stock cut to the same stages.

    python docs/benchmarks/front.py

Measures nothing: it reads */results.json, ablations.json and depth_cost.json beside it. Writes
front.md, front.png, the table in docs/results.md and a sentence of the README.
"""

from __future__ import annotations

import json
import shlex
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnnpp.benchmark.report import quote
from maskrcnnpp.benchmark.results import load
from maskrcnnpp.benchmark.tables import markdown_table, mean_and_sd
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.files import write_bytes, write_text
from maskrcnnpp.plots import COLORS, new_figure, png, tidy

HERE = Path(__file__).resolve().parent
RESULTS, RESULTS_PAGE = sorted(HERE.glob("*/results.json")), HERE.parent / "results.md"
README = HERE.parents[1] / "README.md"
FAST, STOCK, SAME_STAGES, GRID = "fast", "stock", "stock, stages of L2", "L4"
DATASET, ITERATIONS = "dsb2018_val", 3000
#: Rows of depth_cost.json, by config.
ARMS = {
    "configs/cpu/mask_rcnn_lite0_FPN.yaml": STOCK,
    "configs/benchmark/lite0/mask_rcnn_L1.yaml": "stock, stages of L1",
    "configs/benchmark/lite0/mask_rcnn_L2.yaml": SAME_STAGES,
    "configs/benchmark/lite0/mask_rcnn_L3.yaml": "stock, stages of L3",
    "configs/cpu/maskrcnnpp_lite0_fast.yaml": FAST,
    "configs/benchmark/lite0/fast_L1.yaml": "fast, stages of L1",
    "configs/benchmark/lite0/isolated_L1.yaml": "L1",
    "configs/benchmark/lite0/isolated_L2.yaml": "L2",
    "configs/benchmark/lite0/isolated_L3.yaml": "L3",
    "configs/cpu/maskrcnnpp_lite0_nested_fpn.yaml": GRID,
    "configs/benchmark/lite0/plain.yaml": "L4, U-Net's connections",
    "configs/benchmark/lite0/unetplus.yaml": "L4, UNet+'s connections",
    "configs/benchmark/lite0/dense.yaml": "L4, dense finest row",
}
#: What was trained before it had a config of its own: arguments, config.
BEFORE = {
    ("configs/cpu/maskrcnnpp_lite0_fast.yaml", "MODEL.FPN.IN_FEATURES", "['res2']"): (
        "configs/benchmark/lite0/fast_L1.yaml"
    )
}


def points(
    trials: Sequence[Mapping[str, Any]],
    ablations: Sequence[Mapping[str, Any]],
    costs: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """What was measured of each arm at the schedule of the page, by rising time.

    Of a seed that was trained several times, on other machines, the first counts.

    Args:
        trials: of benchmarks.
        ablations: rows of ablations.json, which come after these.
        costs: of depth_cost.json.
    """
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for trial in trials:
        if trial["iterations"] == ITERATIONS:
            metrics = trial["metrics"][DATASET]
            both = (metrics["segm"]["AP"], metrics["bbox"]["AP"])
            found.setdefault(trial["config_file"], {}).setdefault(trial["seed"], both)
    for row in ablations:
        _, *words = shlex.split(row["arguments"])
        config = BEFORE.get(tuple(words), " ".join(words))
        if config in ARMS and row["iterations"] == ITERATIONS and row["dataset"] == DATASET:
            both = (row["segm"]["AP"], row["bbox"]["AP"])
            found.setdefault(config, {}).setdefault(row["seed"], both)
    rows = []
    for config, of_seeds in found.items():
        arm = ARMS[config]
        rows.append(
            {
                "arm": arm,
                "config": config,
                "seeds": len(of_seeds),
                "masks": [masks for masks, _ in of_seeds.values()],
                "boxes": [boxes for _, boxes in of_seeds.values()],
                "parameters": costs["parameters"][arm] / 1e6,
                "seconds": costs["exported"][arm],
            }
        )
    return sorted(rows, key=lambda row: row["seconds"])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    stock = next(row for row in rows if row["arm"] == STOCK)
    cells = [
        [
            row["arm"],
            row["seeds"],
            mean_and_sd(row["masks"], 1),
            mean_and_sd(row["boxes"], 1),
            f"{row['parameters']:.2f} ({row['parameters'] / stock['parameters']:.2f})",
            f"{row['seconds']:.2f} ({row['seconds'] / stock['seconds']:.2f})",
        ]
        for row in rows
    ]
    headers = ["arm", "seeds", "mask AP", "box AP", "M parameters", "CPU-seconds"]
    best = [
        row["arm"]
        for row in rows
        if not any(
            other["seconds"] < row["seconds"]
            and statistics.mean(other["masks"]) > statistics.mean(row["masks"])
            for other in rows
        )
    ]
    *others, last = (f"`{arm}`" for arm in best)
    names = f"{', '.join(others)} and {last}" if others else last
    verdict = f"No arm is both faster and better than {names}."
    return f"{markdown_table(headers, cells)}\n\n{verdict}"


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """For the README: the fast arm and the grid beside stock."""
    of = {row["arm"]: row for row in rows}
    fast, stock, same, grid = of[FAST], of[STOCK], of[SAME_STAGES], of[GRID]

    def ap(row: Mapping[str, Any]) -> str:
        masks, boxes = (statistics.mean(row[name]) for name in ("masks", "boxes"))
        return f"{masks:.1f} and {boxes:.1f} ({row['seeds']})"

    text = (
        f"[`{FAST}`]({fast['config']}) is stock, cut to two stages of the encoder, whose masks "
        "[set the boxes and change the scores](docs/how-it-works.md#masks-that-decide). It takes "
        f"{fast['seconds'] / stock['seconds']:.2f} of stock's time and has "
        f"{fast['parameters'] / stock['parameters']:.2f} of its parameters. Mask and box AP on "
        f"validation images, in brackets the seeds: {ap(fast)}; stock {ap(stock)}, at the same two "
        f"stages {ap(same)}; with the nested pyramid {ap(grid)}, in "
        f"{grid['seconds'] / stock['seconds']:.2f} of stock's time "
        "([page](docs/benchmarks/front.md))."
    )
    return textwrap.fill(text, 108, break_on_hyphens=False)


def picture(rows: Sequence[Mapping[str, Any]]) -> bytes:
    figure = new_figure(7, 4)
    axes = tidy(figure.subplots())
    for name, color, is_stock in (("stock", COLORS[0], True), ("Mask R-CNN++", COLORS[1], False)):
        some = [row for row in rows if row["arm"].startswith("stock") == is_stock]
        means = [statistics.mean(row["masks"]) for row in some]
        seconds = [row["seconds"] for row in some]
        axes.plot(seconds, means, "o", color=color, label=name)
        for row, x, y in zip(some, seconds, means):
            axes.plot([x, x], [min(row["masks"]), max(row["masks"])], color=color, lw=1)
            axes.annotate(
                row["arm"], (x, y), textcoords="offset points", xytext=(6, -3), fontsize=8
            )
    axes.set_xlim(right=1.25 * max(row["seconds"] for row in rows))
    axes.set_xlabel("CPU-seconds for an image of 1024x1024, exported to ONNX")
    axes.set_ylabel(f"mask AP on {DATASET}")
    axes.legend(loc="lower right", frameon=False)
    return png(figure)


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "# Accuracy against time",
        "",
        f"Nuclei of DSB2018, {ITERATIONS} iterations of configs/cpu, EfficientNet-Lite0 from",
        f"ImageNet weights; mask AP and box AP on {DATASET}, mean and (sd) over seeds. Arms of one",
        "seed can be a point better or worse with another. `L1` to `L4` are Mask R-CNN++ of that",
        "depth, trained alone; stock at the stages of a depth has the same part of the encoder,",
        "and max-pooled levels above. `fast` is stock at the stages of L2, whose",
        "[masks set the boxes and change the scores](../how-it-works.md#masks-that-decide):",
        "`configs/cpu/maskrcnnpp_lite0_fast.yaml`. CPU-seconds are of an image of 1024x1024,",
        "exported to ONNX, one thread ([cost](depth_cost.md)); in brackets multiples of stock's.",
        "Written by `python docs/benchmarks/front.py`.",
        "",
        "![Mask AP over CPU-seconds](front.png)",
        "",
        table(rows),
        "",
    ]
    return "\n".join(lines)


def measured() -> list[dict[str, Any]]:
    trials = [trial for file in RESULTS for trial in load(file)["trials"]]
    files = (HERE / "ablations.json", HERE / "depth_cost.json")
    return points(trials, *(json.loads(file.read_text(encoding="utf-8")) for file in files))


def main() -> None:
    rows = measured()
    write_bytes(HERE / "front.png", picture(rows))
    write_text(HERE / "front.md", page(rows))
    text = RESULTS_PAGE.read_text(encoding="utf-8")
    write_text(RESULTS_PAGE, quote(text, "front", table(rows)))
    write_text(README, quote(README.read_text(encoding="utf-8"), "front", sentence(rows)))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
