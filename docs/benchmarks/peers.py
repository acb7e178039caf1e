#!/usr/bin/env python
"""Score what other programs found on DSB2018, beside the arms of configs/cpu.

    python docs/benchmarks/peers.py --add StarDist output/peers/stardist/seed0

The folder is of a script in docs/benchmarks/peers: run.json and dsb2018_{val,test}.json.
Without --add only the page is drawn again. Writes peers.json and peers.md beside this file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnnpp.benchmark.collect import score_file
from maskrcnnpp.benchmark.record import record_files
from maskrcnnpp.benchmark.results import RESULTS_FILE, by_arm, datasets, load, of_seeds
from maskrcnnpp.benchmark.tables import markdown_table, mean_and_sd
from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.data.catalog import datasets_root
from maskrcnnpp.environment import machine
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.files import write_json, write_text

RECORD, PAGE = record_files(__file__)
OURS = Path(__file__).with_name("cpu") / RESULTS_FILE
METRICS = {
    "TP/(TP+FP+FN) at 0.5": ("shown", "accuracy@0.50", 3),
    "at 0.75": ("shown", "accuracy@0.75", 3),
    "DSB score": ("shown", "dsb_score", 3),
    "F1": ("shown", "f1", 3),
    "PQ": ("shown", "pq", 3),
    "AJI": ("shown", "aji", 3),
    "mask AP": ("segm", "AP", 1),
}


def entry(name: str, folder: Path, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What peers.json keeps of a run.

    Args:
        evaluation: how our arms were scored, of their results.json.
    """
    data = Path(datasets_root()) / "dsb2018" / "annotations"
    parts = {part: data / f"instances_{part}.json" for part in ("val", "test")}
    truths = {f"dsb2018_{part}": load_coco_truth(path) for part, path in parts.items()}
    scored = score_file(str(folder / "{dataset}.json"), truths, evaluation)["dsb2018_test"].metrics
    return {
        "name": name,
        **json.loads((folder / "run.json").read_text(encoding="utf-8")),
        "score_threshold": scored["score_threshold"],
        **{what: scored[task][metric] for what, (task, metric, _) in METRICS.items()},
        "machine": machine(),
    }


def page(runs: Sequence[Mapping[str, Any]], ours: Mapping[str, Any]) -> str:
    dataset = datasets(ours)[-1]
    rows = []
    for arm, trials in by_arm(ours, dataset).items():
        cells = [
            mean_and_sd(of_seeds(trials, dataset, task, metric), digits)
            for task, metric, digits in METRICS.values()
        ]
        about = f"{trials[0]['iterations']} iterations"
        rows.append([f"`{arm}`", about, len(trials), *cells])
    for name in dict.fromkeys(run["name"] for run in runs):
        of_name = [run for run in runs if run["name"] == name]
        cells = [
            mean_and_sd([run[what] for run in of_name], digits)
            for what, (*_, digits) in METRICS.items()
        ]
        about = f"{of_name[0]['minutes']:g} CPU-minutes, {of_name[0]['steps']} steps"
        rows.append([name, about, len(of_name), *cells])
    lines = [
        "# Other programs",
        "",
        "Trained on the same split of DSB2018 (train; val chooses the score threshold) and scored",
        f"on {dataset} by the same code. Ours start from ImageNet weights, others as their authors",
        "have it. Mean and (sd) over seeds.",
        "",
        markdown_table(["", "training, one thread", "seeds", *METRICS], rows, words=2),
        "",
        "Written by `python docs/benchmarks/peers.py`; the scripts in [peers](peers) say how each",
        "was trained. [Our arms](cpu/report.md).",
        "",
    ]
    for run in runs:
        used = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
        where = ", ".join(f"{key} {value}" for key, value in run["machine"].items())
        lines.append(f"- {run['name']}, seed {run['seed']}: {used}; {where}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--add", nargs=2, metavar=("NAME", "FOLDER"))
    args = parser.parse_args()
    runs = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else []
    ours = load(OURS)
    if args.add:
        name, folder = args.add
        found = entry(
            name, Path(folder), {k: ours["evaluation"][k] for k in ("max_dets", "area_bins")}
        )
        runs = [run for run in runs if (run["name"], run["seed"]) != (name, found["seed"])]
        runs.append(found)
        write_json(RECORD, runs, indent=1)
    write_text(PAGE, page(runs, ours))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
