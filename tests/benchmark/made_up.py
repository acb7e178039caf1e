"""What tests of the benchmark share: trainings of made-up numbers, scripts of docs, table rows."""

import importlib.util
import sys

from maskrcnnpp.benchmark.results import FORMAT


def trial(arm, seed, metrics):
    return {
        "arm": arm,
        "config_file": f"configs/{arm}.yaml",
        "seed": seed,
        "iterations": 300,
        "metrics": metrics,
        "curves": {"iteration": [0, 20], "total_loss": [2.0, 1.0]},
        "seconds_per_iteration": 0.5 + seed,
        "threads": 2,
        "trainings_at_a_time": 1,
        "fingerprint": {"code": "c0de", "config": arm, "data": "da7a"},
        "machine": {"processor": "some processor"},
        "versions": {"torch": "2"},
    }


def results_of_pixels(ious):
    """A results.json of ``{arm: IoU by seed}`` on the data set em."""
    names = ("IoU", "Dice", "IoU_image", "mIoU_thresholds")
    return {
        "format": FORMAT,
        "command": "maskrcnnpp benchmark",
        "reference": next(iter(ious)),
        "judged": list(ious)[-1],
        "evaluation": {"datasets": {"em": {}}},
        "parameters": dict.fromkeys(ious, 2e6),
        "trials": [
            trial(arm, seed, {"em": {"pixels": dict.fromkeys(names, iou)}})
            for arm, values in ious.items()
            for seed, iou in enumerate(values)
        ],
        "differences": {},
        "failed": {},
    }


def script(name):
    """A module of docs/benchmarks."""
    spec = importlib.util.spec_from_file_location(name, f"docs/benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def cells(table, arm):
    """Of the row of an arm, without its name."""
    lines = [line for line in table.splitlines() if f"[{arm}]" in line or f"| {arm} " in line]
    return [cell.strip() for cell in lines[0].strip("|").split("|")][1:]
