#!/usr/bin/env python
"""Record a training as an ablation: add it to ablations.json, and draw ablations.md again.

    python docs/benchmarks/ablations.py --run-dir OUTPUT_DIR --group recipe --what "crops of 192"

All of it is read from the training's folder. The record keeps the command that repeats it, with the
commit that it is for: names and defaults of keys may change afterwards.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.modeling import build_model

from maskrcnnpp.benchmark.record import record_files
from maskrcnnpp.benchmark.runner import TRIAL_FILE
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.config_reader import build_config
from maskrcnnpp.engine.run_record import FILE as RUNS_FILE
from maskrcnnpp.engine.training_log import read_training_log, seconds_per_iteration
from maskrcnnpp.errors import DataError, exit_on_user_error
from maskrcnnpp.evaluation.coco_evaluation import METRICS_FILE
from maskrcnnpp.files import write_json, write_text

RECORD, PAGE = record_files(__file__)
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
# where a run puts its files and what it is held to, not what it trains
_NOT_KEPT = ("OUTPUT_DIR", "TEST.EXPECTED_RESULTS", "SEED", "DATASETS.TEST")

INTRODUCTION = """\
# Ablations

What was tried, also what failed. Each row is one training with one seed on DSB2018, evaluated on
dsb2018_val: enough to choose what to measure next, not enough to claim anything. Differences below
one point are within what another seed does. The first row of a group is what the others are
compared with, but for those that name another row.

To repeat a row: check out its commit and run `maskrcnnpp train` with the arguments of the
row and its SEED. Times are of a machine that did other work too: compare parameters and the
[cost page](depth_cost.md), not seconds.
"""

GROUPS = {
    "recipe": "The recipe of configs/cpu, chosen with the stock arm",
    "design": "The design of the pyramid and of what reads it",
    "depth": "Depths, and stock at the same stages of the encoder",
    "schedule": "How long a training goes on",
    "margin": "Masks that decide: BOX_MARGIN and SCORE_MASKS of MODEL.ROI_MASK_HEAD",
}


def entry(run_dir: Path, group: str, what: str, than: str | None = None) -> dict[str, Any]:
    """What ablations.json keeps of a training.

    Args:
        than: ``what`` of the row that it is compared with; None: the first of the group.

    Raises:
        DataError: it has not finished, or its starts differ in their settings.
    """
    try:
        starts = json.loads((run_dir / RUNS_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{run_dir} holds no training: {error}") from error
    if any(start["settings"] != starts[0]["settings"] for start in starts):
        raise DataError(f"{run_dir}: its settings were changed at a restart; no row repeats that")
    cfg = build_config(str(run_dir / "config.yaml"), ["MODEL.DEVICE", "cpu"])
    dataset = cfg.DATASETS.TEST[0]
    path = run_dir / "inference" / dataset / METRICS_FILE
    for needed in (path, run_dir / "model_final.pth"):
        if not needed.is_file():
            raise DataError(f"{run_dir}: the training has not finished, {needed} is missing")
    metrics = json.loads(path.read_text(encoding="utf-8"))
    return {
        "group": group,
        "what": what,
        "than": than,
        "arguments": arguments(starts[0]["command"], _config_of_trial(run_dir)),
        "commit": starts[-1]["versions"]["maskrcnnpp"].split()[-1],
        "seed": starts[0]["seed"],
        "iterations": cfg.SOLVER.MAX_ITER,
        "dataset": dataset,
        "segm": {name: round(metrics["segm"][name], 2) for name in METRICS},
        "bbox": {"AP": round(metrics["bbox"]["AP"], 2)},
        "parameters": sum(x.numel() for x in build_model(cfg).parameters()),
        "seconds_per_iteration": seconds_per_iteration(read_training_log(run_dir)),
        "machine": starts[-1]["machine"]["processor"],
    }


def _config_of_trial(run_dir: Path) -> str | None:
    """The config file of a training of ``maskrcnnpp benchmark``, which trains with a copy."""
    path = run_dir / TRIAL_FILE
    return json.loads(path.read_text(encoding="utf-8"))["config_file"] if path.is_file() else None


def arguments(command: str, config_file: str | None = None) -> str:
    """Those of ``maskrcnnpp train`` that decide what is trained.

    Args:
        config_file: in the place of that of the command.
    """
    words = [word for word in shlex.split(command) if word != "--resume"]
    words = words[words.index("--config-file") :]
    kept = ["--config-file", config_file or words[1]]
    for key, value in zip(words[2::2], words[3::2]):
        if key not in _NOT_KEPT:
            kept += [key, value]
    return shlex.join(kept)


def page(entries: Sequence[Mapping[str, Any]]) -> str:
    parts = [INTRODUCTION]
    for group, title in GROUPS.items():
        of_group = [e for e in entries if e["group"] == group]
        if of_group:
            parts += [f"## {title}\n", _table(of_group, entries), ""]
    return "\n".join(parts)


def _table(of_group: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for e in of_group:
        than = e.get("than")
        first = next(
            x
            for x in (entries if than else of_group)
            if (x["seed"], x["iterations"]) == (e["seed"], e["iterations"])
            and than in (None, x["what"])
        )
        gain = "" if e is first else f"{e['segm']['AP'] - first['segm']['AP']:+.1f}"
        rows.append(
            [
                f"{e['what']} (compared with: {than})" if than else e["what"],
                e["seed"],
                e["iterations"],
                f"{e['segm']['AP']:.1f}",
                gain,
                *(f"{e['segm'][name]:.1f}" for name in METRICS[1:]),
                f"{e['bbox']['AP']:.1f}",
                f"{e['parameters'] / 1e6:.2f}",
                e["commit"][:7],
                f"`{e['arguments']}`",
            ]
        )
    headers = ["what", "seed", "iterations", "mask AP", "gain", *METRICS[1:], "box AP"]
    headers += ["M parameters", "commit", "arguments"]
    return markdown_table(headers, rows, words=len(headers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run-dir", type=Path, help="default: only draw the page again")
    parser.add_argument("--group", choices=GROUPS, help="table of the row")
    parser.add_argument("--what", help="what the row is about, in a few words")
    parser.add_argument("--than", help="what the row it is compared with is about")
    args = parser.parse_args()
    if len({args.run_dir is None, args.group is None, args.what is None}) > 1:
        parser.error("--run-dir, --group and --what belong together")
    entries = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else []
    if args.run_dir:
        entries.append(entry(args.run_dir, args.group, args.what, args.than))
        write_json(RECORD, entries, indent=1)
    write_text(PAGE, page(entries))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
