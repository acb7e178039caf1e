#!/usr/bin/env python
"""Compare embedded with isolated training, depth by depth, as the UNet++ papers do.

    python docs/benchmarks/embedded.py --output-dir output/benchmark/cpu --seeds 0 1 2 --jobs 2

Isolated: a training for each depth. Embedded: one training, pruned to each depth. Trainings that
lie in the output folder, such as `maskrcnnpp benchmark` makes, are kept. Writes embedded.json,
embedded.md and embedded.png beside this file, and the table in docs/results.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from maskrcnnpp.benchmark.collect import REPLICATES, Row, compare, score_file
from maskrcnnpp.benchmark.depth_table import evaluate_pruned
from maskrcnnpp.benchmark.figures import plot_by_depth
from maskrcnnpp.benchmark.report import provenance, quote
from maskrcnnpp.benchmark.results import (
    FORMAT,
    by_arm,
    datasets,
    difference_of,
    load,
    of_seeds,
    save,
)
from maskrcnnpp.benchmark.runner import Trial, plan_trials, run_trials
from maskrcnnpp.benchmark.tables import difference_text, markdown_table, mean_and_sd
from maskrcnnpp.engine import build_config
from maskrcnnpp.engine.prune import prune_checkpoint
from maskrcnnpp.errors import DataError, exit_on_user_error
from maskrcnnpp.evaluation import load_coco_truth
from maskrcnnpp.evaluation.coco_evaluation import RESULTS_FILE as PREDICTIONS_FILE
from maskrcnnpp.files import write_bytes, write_text
from maskrcnnpp.plots import new_figure, png, tidy

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS, QUOTED = ROOT / "docs/results.md", "embedded"
RECORD, PAGE, PICTURE = (HERE / f"embedded.{ending}" for ending in ("json", "md", "png"))
STOCK = "configs/cpu/mask_rcnn_lite0_FPN.yaml"
EMBEDDED = "configs/cpu/maskrcnnpp_lite0_embedded.yaml"
ISOLATED = {
    **{depth: f"configs/benchmark/lite0/isolated_L{depth}.yaml" for depth in (1, 2, 3)},
    4: "configs/cpu/maskrcnnpp_lite0_nested_fpn.yaml",
}
OPTS = ("DATASETS.TEST", "('dsb2018_val','dsb2018_test')")


def arm(kind: str, depth: int) -> str:
    return f"{kind} L{depth}"


def run(output_dir: Path, seeds: Sequence[int], jobs: int) -> dict[str, Any]:
    """Train what is missing, prune, evaluate and score."""
    files = [STOCK, *ISOLATED.values(), EMBEDDED]
    trials, problems = plan_trials(files, seeds, output_dir, OPTS)
    problems |= run_trials(trials, jobs=jobs)
    if problems:
        raise DataError("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
    cfg = trials[0].cfg
    judged_on = cfg.DATASETS.TEST[-1]
    truths = {judged_on: load_coco_truth(MetadataCatalog.get(judged_on).json_file)}
    options = {"max_dets": cfg.TEST.DETECTIONS_PER_IMAGE, "area_bins": list(cfg.TEST.AREA_BINS)}
    rows = []
    for trial in tqdm(trials, desc="evaluating", unit="training"):
        for name, folder in predictions(trial):
            file = str(folder / "inference" / "{dataset}" / PREDICTIONS_FILE)
            scored = score_file(file, truths, options)
            for found in scored.values():
                for key in ("precision_recall", "shown", "score_threshold"):
                    found.metrics.pop(key)  # not shown here; nothing tuned a threshold
            rows.append(Row(name, trial.seed, trial.result(), scored))
    pairs = [(arm("embedded", d), other) for d in ISOLATED for other in (arm("isolated", d), STOCK)]
    pairs += [(arm("isolated", depth), STOCK) for depth in ISOLATED]
    found = compare(rows, pairs, judged_on, REPLICATES)
    # what depends on a score threshold, which nothing tuned here, is left out
    only_ap = {a: {o: {"AP": m["AP"]} for o, m in others.items()} for a, others in found.items()}
    sizes = {n: {"images": len(t["images"])} for n, t in truths.items()}
    return {
        "format": FORMAT,
        "command": shlex.join(["python", *sys.argv]),
        "evaluation": {**options, "datasets": sizes},
        "trials": [row.entry() for row in rows],
        "replicates": REPLICATES,
        "differences": {judged_on: only_ap},
    }


def predictions(trial: Trial) -> Iterator[tuple[str, Path]]:
    """What a training is called here and where its predictions lie; for the embedded one by depth.

    What was pruned and evaluated before is kept.
    """
    isolated = {file: depth for depth, file in ISOLATED.items()}
    if trial.config_file != EMBEDDED:
        depth = isolated.get(trial.config_file)
        yield arm("isolated", depth) if depth else STOCK, trial.output_dir
        return
    *shallower, full = ISOLATED
    for depth in shallower:
        folder = trial.output_dir / f"L{depth}"
        last = folder / "inference" / trial.cfg.DATASETS.TEST[-1] / PREDICTIONS_FILE
        if not last.is_file():
            kept = build_config(str(trial.kept_config))
            prune_checkpoint(kept, trial.weights, depth, folder)
            evaluate_pruned(arm("embedded", depth), folder, kept.DATASETS.TEST[-1:])
        yield arm("embedded", depth), folder
    yield arm("embedded", full), trial.output_dir


def page(results: Mapping[str, Any]) -> str:
    names = datasets(results)
    stock = f"[{Path(STOCK).stem}](../../{STOCK})"
    embedded = f"[{Path(EMBEDDED).stem}](../../{EMBEDDED})"
    lines = [
        "# Embedded and isolated training",
        "",
        f"Isolated: a training of each depth. Embedded: one training ({embedded}), cut to each "
        "depth. Mask AP: mean over seeds, sd in brackets; differences with their 95 % interval "
        "over images and seeds. Bold holds up: the interval is on one side of zero and Welch's p "
        f"is below 0.05. The row of stock is {stock}. L1 has the rows conv1 and res2 and the "
        "encoder up to res2, L4 all rows.",
        "",
        f"![Mask AP by depth, embedded and isolated]({PICTURE.name})",
        "",
    ]
    for name in reversed(names):
        size = results["evaluation"]["datasets"][name]["images"]
        lines += [f"## {name}, {size} images", "", depth_table(results, name), ""]
    command = "python docs/benchmarks/embedded.py"
    lines += [f"Written by `{command}`.", ""]
    return "\n".join([*lines, provenance(results), ""])


def depth_table(results: Mapping[str, Any], dataset: str, page_dir: Path = HERE) -> str:
    """A row a depth, for a page in ``page_dir``."""
    to_root = os.path.relpath(ROOT, page_dir.resolve())
    arms = by_arm(results, dataset)

    def cell(name: str, metric: str) -> str:
        return mean_and_sd(of_seeds(arms[name], dataset, "segm", metric))

    rows = [["stock", cell(STOCK, "AP"), *[""] * 4]]
    for depth, file in ISOLATED.items():
        isolated, embedded = (arm(kind, depth) for kind in ("isolated", "embedded"))
        rows.append(
            [
                f"[L{depth}]({Path(to_root, file).as_posix()})",
                cell(isolated, "AP"),
                cell(embedded, "AP"),
                _difference(results, embedded, isolated, dataset),
                _difference(results, embedded, STOCK, dataset),
                cell(embedded, "AP50"),
            ]
        )
    headers = ["depth", "isolated", "embedded", "embedded - isolated", "embedded - stock"]
    headers += ["AP50, embedded"]
    return markdown_table(headers, rows)


def _difference(results: Mapping[str, Any], first: str, second: str, dataset: str) -> str:
    found = difference_of(results, first, second, dataset).get("AP")
    return difference_text(found) if found else ""


def picture(results: Mapping[str, Any]) -> bytes:
    """Mask AP by depth: a point a training, a line through the means. PNG."""
    dataset = datasets(results)[-1]
    arms = by_arm(results, dataset)
    figure = new_figure(6, 3.6)
    axes = tidy(figure.subplots())
    values = {
        kind: {d: of_seeds(arms[arm(kind, d)], dataset, "segm", "AP") for d in ISOLATED}
        for kind in ("isolated", "embedded")
    }
    plot_by_depth(axes, values)
    stock = np.mean(of_seeds(arms[STOCK], dataset, "segm", "AP"))
    axes.axhline(stock, color="#7F7F7F", ls="--", label="stock")
    axes.set(ylabel=f"mask AP, {dataset}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output-dir", type=Path, help="default: only draw up the page anew")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    args = parser.parse_args()
    if args.output_dir:
        save(RECORD, run(args.output_dir, args.seeds, args.jobs))
    results = load(RECORD)
    write_text(PAGE, page(results))
    table = depth_table(results, datasets(results)[-1], RESULTS.parent)
    write_text(RESULTS, quote(RESULTS.read_text(encoding="utf-8"), QUOTED, table))
    write_bytes(PICTURE, picture(results))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
