#!/usr/bin/env python
"""Record a single training as an ablation: add it to ablations.json, and draw up ablations.md anew.

    python docs/benchmarks/ablations.py --run-dir OUTPUT_DIR --what "rows of 64 channels"

Settings and metrics are read from the training's folder. The record keeps what differs from the
stock arm as KEY VALUE pairs that repeat the training, and the commit that they are for: names and
defaults of keys may change afterwards.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from maskrcnnpp.benchmark.runner import STARTED_FILE
from maskrcnnpp.benchmark.tables import cost_ratio_table
from maskrcnnpp.engine import build_config
from maskrcnnpp.engine.training_log import read_training_log, seconds_per_iteration
from maskrcnnpp.environment import commit, machine
from maskrcnnpp.errors import exit_on_user_error
from maskrcnnpp.evaluation.coco_evaluation import METRICS_FILE
from maskrcnnpp.files import write_json, write_text

HERE = Path(__file__).parent
RECORD, PAGE = HERE / "ablations.json", HERE / "ablations.md"
COSTS = HERE / "depth_cost.json"
STOCK = "configs/quick/mask_rcnn_R_18_FPN.yaml"
METRICS = ("AP", "AP50", "AP75")
# where a run puts its files and what it is held to, not what it trains
_LEFT_OUT = (
    "OUTPUT_DIR",
    "TEST.EXPECTED_RESULTS",
    "TEST.AREA_BINS",
    "SEED",
    "MODEL.DEVICE",
    "DATASETS.TEST",
)

INTRODUCTION = f"""\
# Ablations

What was tried on the way, also what failed. Each row is one training of the CPU recipe with one
seed, on DSB2018, evaluated on dsb2018_val: enough to choose what to measure next, not enough to
claim anything. Differences below one point are within what another seed does.

To repeat a row: `python tools/train_net.py --config-file {STOCK} SEED n SETTINGS`,
with the commit, the seed and the settings of the row. Some rows also had a change of code that was
not kept: it is named before their settings.
"""

LADDER_INTRODUCTION = """\
ResNet-50, the full depth, beside stock: each row has the change it names and those above it but for
the rows it replaces. Measured as in [depth_cost.md](depth_cost.md), by the same script, which has
the settings.
"""


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, list(value) if isinstance(value, (list, tuple)) else value


def settings(config_file: str) -> dict[str, Any]:
    """Every key of a config that decides what is trained."""
    found = dict(flat(yaml.safe_load(build_config(config_file).dump())))
    return {key: value for key, value in found.items() if key not in _LEFT_OUT}


def overrides(config_file: str) -> list[str]:
    """What turns the stock arm into a config, as KEY VALUE words."""
    stock = settings(STOCK)
    return [
        word
        for key, value in settings(config_file).items()
        if value != stock.get(key)
        for word in (key, json.dumps(value) if isinstance(value, list) else str(value))
    ]


def entry(run_dir: Path, what: str, code: str | None = None) -> dict[str, Any]:
    """What ablations.json keeps of a training, and of the code it had beside the settings."""
    config = dict(flat(yaml.safe_load((run_dir / "config.yaml").read_text())))
    dataset = config["DATASETS.TEST"][0]
    metrics = json.loads((run_dir / "inference" / dataset / METRICS_FILE).read_text())
    return {
        "what": what,
        **({"code": code} if code else {}),
        "settings": shlex.join(overrides(str(run_dir / "config.yaml"))),
        "commit": commit_of(run_dir),
        "seed": config["SEED"],
        "dataset": dataset,
        "segm": {name: round(metrics["segm"][name], 2) for name in METRICS},
        "bbox": {"AP": round(metrics["bbox"]["AP"], 2)},
        "seconds_per_iteration": seconds_per_iteration(read_training_log(run_dir)),
        "machine": machine()["processor"],
    }


def commit_of(run_dir: Path) -> str:
    """Of the code of a training: what tools/benchmark.py kept of it, or that of now."""
    started = run_dir / STARTED_FILE
    if not started.is_file():
        return commit()
    return json.loads(started.read_text(encoding="utf-8"))["versions"]["maskrcnnpp"].split()[-1]


def repetition(row: Mapping[str, Any]) -> str:
    return "; ".join(filter(None, [row.get("code"), row["settings"] and f"`{row['settings']}`"]))


def page(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            e["what"],
            e["seed"],
            *(f"{e['segm'][name]:.1f}" for name in METRICS),
            f"{e['bbox']['AP']:.1f}",
            e["commit"][:7],
            repetition(e),
        ]
        for e in entries
    ]
    headers = [
        "what",
        "seed",
        *(f"mask {name}" for name in METRICS),
        "box AP",
        "commit",
        "settings",
    ]
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    return f"{INTRODUCTION}\n{table}\n{ladder()}"


def ladder() -> str:
    """What each step from the plain design to the shipped one costs, of depth_cost.json."""
    if not COSTS.is_file():
        return ""
    costs = json.loads(COSTS.read_text(encoding="utf-8"))
    lines = ["", "## What the design costs, step by step", "", LADDER_INTRODUCTION]
    lines += [cost_ratio_table(costs["ladder"]), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run-dir", type=Path, help="default: only draw up the page anew")
    parser.add_argument("--what", help="what the row is about, in a few words")
    parser.add_argument("--code", help="the change of code that it had, where it is not kept")
    args = parser.parse_args()
    if (args.run_dir is None) != (args.what is None):
        parser.error("--run-dir and --what belong together")
    entries = json.loads(RECORD.read_text()) if RECORD.is_file() else []
    if args.run_dir:
        entries.append(entry(args.run_dir, args.what, args.code))
        write_json(RECORD, entries, indent=1)
    write_text(PAGE, page(entries))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
