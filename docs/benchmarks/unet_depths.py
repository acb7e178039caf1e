#!/usr/bin/env python
"""UNet++ by depth: embedded against isolated training, and what each depth costs.

    python docs/benchmarks/unet_depths.py --output-dir output/benchmark/nuclei --seeds 0 1 2 \\
        --jobs 2 --page-dir docs/benchmarks/unet/nuclei

Isolated: a training for each depth. Embedded: one training of all depths, pruned to each. Trainings
that lie in the output folder, such as `maskrcnnpp benchmark` makes, are kept. Ensemble: the mean
of the heads of the embedded one. Writes depths.json,
depths.md and depths.png into the page's folder; without --output-dir only draws them up anew.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from maskrcnnpp.benchmark.cost import Arm, measure_inference
from maskrcnnpp.benchmark.depth_table import evaluate_pruned
from maskrcnnpp.benchmark.figures import plot_by_depth
from maskrcnnpp.benchmark.report import provenance
from maskrcnnpp.benchmark.results import FORMAT, by_arm, datasets, load, of_seeds, save
from maskrcnnpp.benchmark.runner import Trial, plan_trials, run_trials
from maskrcnnpp.benchmark.statistics import SIGNIFICANCE
from maskrcnnpp.benchmark.tables import (
    config_link,
    gain_cells,
    made_with,
    markdown_table,
    mean_and_sd,
)
from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.engine import build_config
from maskrcnnpp.engine.prune import CONFIG_FILE, WEIGHTS_FILE, prune_checkpoint
from maskrcnnpp.environment import machine
from maskrcnnpp.errors import DataError, exit_on_user_error
from maskrcnnpp.evaluation.semantic_evaluation import METRICS_FILE, read_metrics
from maskrcnnpp.files import write_bytes, write_text
from maskrcnnpp.plots import COLORS, new_figure, png, tidy

RECORD_FILE, PAGE_FILE, PICTURE_FILE = "depths.json", "depths.md", "depths.png"
EMBEDDED = "configs/quick/unetpp_ds.yaml"
FULL = 4
SHALLOWER = (1, 2, 3)
ISOLATED = {depth: f"configs/benchmark/unet/isolated_L{depth}.yaml" for depth in SHALLOWER}
ENSEMBLE = "ensemble"


def arm(kind: str, depth: int) -> str:
    return f"{kind} L{depth}"


def run(output_dir: Path, seeds: Sequence[int], jobs: int, opts: Sequence[str]) -> dict[str, Any]:
    """Train what is missing, prune, evaluate and measure."""
    trials, problems = plan_trials([EMBEDDED, *ISOLATED.values()], seeds, output_dir, opts)
    problems |= run_trials(trials, jobs=jobs)
    if problems:
        raise DataError("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
    rows = []
    for trial in tqdm(trials, desc="evaluating", unit="training"):
        for name, folder in depths_of(trial):
            names = trial.cfg.DATASETS.TEST
            metrics = {data: {"pixels": read_metrics(folder, data)} for data in names}
            rows.append({**trial.result(), "arm": name, "metrics": metrics})
    first = next(trial for trial in trials if trial.config_file == EMBEDDED)
    arms = [
        Arm(f"L{depth}", str(folder / CONFIG_FILE), str(folder / WEIGHTS_FILE))
        for depth in SHALLOWER
        for folder in [pruned_folder(first, depth)]
    ]
    arms.append(Arm(f"L{FULL}", str(first.kept_config), str(first.weights)))
    return {
        "format": FORMAT,
        "command": shlex.join(["python", *sys.argv]),
        "evaluation": {"datasets": {name: {} for name in trials[0].cfg.DATASETS.TEST}},
        "trials": rows,
        "cost": measure_inference(arms),
        "measured_on": machine(),
    }


def pruned_folder(trial: Trial, depth: int) -> Path:
    return trial.output_dir / f"L{depth}"


def depths_of(trial: Trial) -> Iterator[tuple[str, Path]]:
    """What a training is called here and where its metrics lie; for the embedded one by depth.

    What was pruned and evaluated before is kept.
    """
    isolated = {file: depth for depth, file in ISOLATED.items()}
    if trial.config_file != EMBEDDED:
        yield arm("isolated", isolated[trial.config_file]), trial.output_dir
        return
    for depth in SHALLOWER:
        folder = pruned_folder(trial, depth)
        if not is_evaluated(trial, folder):
            prune_checkpoint(build_config(str(trial.kept_config)), trial.weights, depth, folder)
            evaluate_pruned(f"L{depth}", folder, trial.cfg.DATASETS.TEST)
        yield arm("embedded", depth), folder
    folder = trial.output_dir / ENSEMBLE
    if not is_evaluated(trial, folder):
        opts = ["MODEL.SEM_SEG_HEAD.DEEP_SUPERVISION.MODE", "ensemble", "OUTPUT_DIR", str(folder)]
        cfg = build_config(str(trial.kept_config), [*opts, "MODEL.WEIGHTS", str(trial.weights)])
        write_text(folder / CONFIG_FILE, cfg.dump())
        evaluate_pruned(ENSEMBLE, folder, trial.cfg.DATASETS.TEST)
    yield ENSEMBLE, folder
    # the full depth alone is the same training
    yield arm("embedded", FULL), trial.output_dir
    yield arm("isolated", FULL), trial.output_dir


def is_evaluated(trial: Trial, folder: Path) -> bool:
    last = folder_name(trial.cfg.DATASETS.TEST[-1])
    return (folder / "inference" / last / METRICS_FILE).is_file()


def page(results: Mapping[str, Any], page_dir: Path) -> str:
    links = {Path(f).stem: config_link(f, page_dir) for f in (EMBEDDED, *ISOLATED.values())}
    told = ", ".join(f"[{name}]({link})" for name, link in links.items())
    cost = results["cost"][f"L{FULL}"]
    height, width = cost["image_size"]
    lines = [
        "# UNet++ by depth",
        "",
        "Embedded: one training with deep supervision, cut to each depth. Isolated: a training of "
        "each depth alone. IoU in percent, mean and (sd, n - 1) over seeds; the "
        "difference is of the same seed, p is Welch's, of "
        f"embedded against isolated, and below {SIGNIFICANCE:g} a difference is more than that of "
        f"seeds. The configs: {told}.",
        "",
        f"![IoU by depth and by time]({PICTURE_FILE})",
        "",
    ]
    for name in reversed(datasets(results)):
        lines += [f"## {name}", "", depth_table(results, name), ""]
    lines += [
        "## What a depth costs",
        "",
        cost_table(results),
        "",
        f"Latency: median of {cost['images']} images, depths alternating image by image; "
        f"multiply-adds of one {height}x{width} image. L4's encoder rows, decoders and head that "
        "a depth has no use for are not in its checkpoint and are not computed.",
        "",
        made_with("machine", results["measured_on"]),
        "",
        "## How it was run",
        "",
        provenance(results),
        "",
    ]
    return "\n".join(lines)


def ious_of(results: Mapping[str, Any], dataset: str) -> dict[str, list[float]]:
    """IoU of each training, by arm."""
    arms = by_arm(results, dataset, "pixels")
    return {name: of_seeds(trials, dataset, "pixels", "IoU") for name, trials in arms.items()}


def depth_table(results: Mapping[str, Any], dataset: str) -> str:
    ious = ious_of(results, dataset)
    rows = []
    for depth in (*SHALLOWER, FULL):
        arms = [arm(kind, depth) for kind in ("embedded", "isolated")]
        embedded, isolated = (ious[name] for name in arms)
        row = [f"L{depth}", len(embedded), mean_and_sd(isolated), mean_and_sd(embedded)]
        rows.append(row if depth == FULL else [*row, *gain_cells(results, *arms, dataset)])
    values = ious[ENSEMBLE]
    rows.append(["mean of all heads", len(values), "", mean_and_sd(values)])
    headers = ["depth", "seeds", "isolated", "embedded", "embedded - isolated", "p"]
    return markdown_table(headers, rows)


def cost_table(results: Mapping[str, Any]) -> str:
    costs = results["cost"]
    full = costs[f"L{FULL}"]
    rows = []
    for name, cost in costs.items():
        latency, of_full = cost["latency"]["total"][0], full["latency"]["total"][0]
        rows.append(
            [
                name,
                f"{1000 * latency:.0f}",
                f"{latency / of_full:.2f}",
                f"{cost['flops']['total'] / 1e9:.2f}",
                f"{cost['flops']['total'] / full['flops']['total']:.2f}",
                f"{cost['parameters']['total'] / 1e6:.3f}",
                f"{cost['parameters']['total'] / full['parameters']['total']:.3f}",
                f"{cost['peak_memory']:.0f}",
            ]
        )
    part = f"of L{FULL}"
    headers = ["depth", "ms an image", part, "G multiply-adds", part, "M parameters", part]
    return markdown_table([*headers, "peak memory, MiB"], rows)


def picture(results: Mapping[str, Any]) -> bytes:
    """IoU by depth, a point a training and a line through the means, and against latency. PNG."""
    dataset = datasets(results)[-1]
    figure = new_figure(9, 3.6)
    by_depth, by_time = map(tidy, figure.subplots(1, 2, sharey=True))
    depths = [*SHALLOWER, FULL]
    ious = ious_of(results, dataset)
    values = {kind: {d: ious[arm(kind, d)] for d in depths} for kind in ("isolated", "embedded")}
    means = plot_by_depth(by_depth, values)
    by_depth.set(ylabel=f"IoU, {Path(dataset).stem}")
    latency = [1000 * results["cost"][f"L{d}"]["latency"]["total"][0] for d in depths]
    for kind, color in zip(values, COLORS):
        by_time.plot(latency, means[kind], "o-", color=color)
    for place, depth, value in zip(latency, depths, means["embedded"]):
        about = {"xytext": (5, -12), "textcoords": "offset points"}
        by_time.annotate(f"L{depth}", (place, value), **about)
    by_time.set(xlabel="milliseconds an image", xlim=(0, 1.1 * latency[-1]))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page-dir", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, help="default: only draw up the page anew")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE")
    args = parser.parse_args()
    record = args.page_dir / RECORD_FILE
    if args.output_dir:
        save(record, run(args.output_dir, args.seeds, args.jobs, args.opts))
    results = load(record)
    write_text(args.page_dir / PAGE_FILE, page(results, args.page_dir))
    write_bytes(args.page_dir / PICTURE_FILE, picture(results))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
