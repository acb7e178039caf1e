"""Arms of semantic segmentation, compared by their pixels: semantic_results.json and its page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from maskrcnnpp.benchmark.runner import Trial
from maskrcnnpp.benchmark.statistics import SIGNIFICANCE, welch_p
from maskrcnnpp.benchmark.tables import config_link, made_with, markdown_table, mean_and_sd
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.errors import DataError
from maskrcnnpp.evaluation.semantic_evaluation import read_metrics
from maskrcnnpp.files import write_json, write_text

RESULTS_FILE = "semantic_results.json"
REPORT_FILE = "semantic_report.md"
#: Metrics of the tables, and what they call them; the first is what p is of.
SHOWN = {
    "IoU": "IoU",
    "Dice": "Dice",
    "IoU_image": "IoU, mean over images",
    "mIoU_thresholds": "mean IoU over thresholds",
}

HOW_TO_READ = f"""\
- A row names the config that was trained; the first is the reference. Numbers are percent, mean and
  (sd, n - 1) over seeds. With the same seed all see the same images, crops and flips.
- IoU and Dice are of the pixels of all images together, mean over classes. The mean over
  thresholds, 0.50:0.95 of the probability, is of a class and of all that it is not, as the
  reference code of the UNet++ papers has it; it is above the IoU where background is easy.
- The gain in IoU is over the reference with the same seed, mean and (sd) over seeds.
- p is Welch's, two-sided, of the IoU of the seeds against the reference's: the papers' test over
  trials, which knows nothing of pairs. Below {SIGNIFICANCE:g} a difference is more than that of
  seeds; other images are another matter."""


def all_semantic(trials: Sequence[Trial]) -> bool:
    """Whether all arms predict pixels."""
    return all(is_semantic(trial.cfg) for trial in trials)


def has_objects(trials: Sequence[Trial]) -> bool:
    """Whether all that is judged on has objects, so that arms can be compared by these, too."""
    names = trials[0].cfg.DATASETS.TEST
    return all(MetadataCatalog.get(name).get("evaluator_type") != "sem_seg" for name in names)


def collect_semantic(
    trials: Sequence[Trial], *, command: str, failed: Mapping[str, str] = {}
) -> dict[str, Any]:
    """What has finished, for ``semantic_results.json``.

    Args:
        trials: planned ones; those that have not finished are left out.
        command: how it was called.
        failed: what went wrong, by the trial's name.

    Raises:
        DataError: metrics of a training are missing; none has finished.
    """
    rows = []
    for trial in trials:
        if kept := trial.result():
            names = trial.cfg.DATASETS.TEST
            metrics = {name: read_metrics(trial.output_dir, name) for name in names}
            rows.append({**kept, "metrics": metrics})
    if not rows:
        raise DataError("no training has finished" + "".join(f"; {v}" for v in failed.values()))
    first = trials[0].arm
    arms = list(dict.fromkeys(trial.arm for trial in trials))
    rows.sort(key=lambda row: arms.index(row["arm"]))  # stable: seeds stay in order
    sizes = {trial.arm: _parameters(trial) for trial in trials}
    return {
        "command": command,
        "reference": first,
        "datasets": list(trials[0].cfg.DATASETS.TEST),
        "parameters": sizes,
        "trials": rows,
        "failed": dict(failed),
    }


def load_semantic(output_dir: Path) -> dict[str, Any] | None:
    """What :func:`write_semantic_report` wrote to a folder; None where it did not.

    Raises:
        DataError: the file is damaged.
    """
    path = output_dir / RESULTS_FILE
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        results["trials"][0]["metrics"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: not of maskrcnnpp benchmark: {error}") from error
    return results


def _parameters(trial: Trial) -> int:
    cfg = trial.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    return sum(x.numel() for x in build_model(cfg).parameters())


def semantic_table(results: Mapping[str, Any], dataset: str, page_dir: Path) -> str:
    """A row an arm, as Markdown.

    Args:
        results: of :func:`collect_semantic`.
        dataset: one of its.
        page_dir: folder of the page that it is for; configs are linked from there.
    """
    main = next(iter(SHOWN))
    reference = values_of_seeds(results, results["reference"], dataset, main)
    rows = []
    for arm in dict.fromkeys(trial["arm"] for trial in results["trials"]):
        values = {name: values_of_seeds(results, arm, dataset, name) for name in SHOWN}
        gain = p = ""
        if arm != results["reference"]:
            gain = gain_and_sd(gains_of_seeds(results, arm, results["reference"], dataset))
            p = mean_and_sd([welch_p(values[main], reference)], 3)
        rows.append(
            [
                _link(results, arm, page_dir),
                f"{results['parameters'][arm] / 1e6:.2f}",
                len(values[main]),
                *(mean_and_sd(numbers) for numbers in values.values()),
                gain,
                p,
            ]
        )
    headers = ["arm", "M parameters", "seeds", *SHOWN.values(), f"{SHOWN[main]}, gain", "p"]
    return markdown_table(headers, rows)


def values_of_seeds(results: Mapping[str, Any], arm: str, dataset: str, metric: str) -> list[float]:
    """One metric of each trial of an arm; nan where there was nothing to judge."""
    found = [t["metrics"][dataset][metric] for t in results["trials"] if t["arm"] == arm]
    return [math.nan if value is None else value for value in found]


def gains_of_seeds(results: Mapping[str, Any], arm: str, other: str, dataset: str) -> list[float]:
    """IoU of an arm minus that of another, of each seed that both have."""
    metric = next(iter(SHOWN))
    by_seed: dict[str, dict[int, float]] = {}
    for name in (arm, other):
        seeds = [trial["seed"] for trial in results["trials"] if trial["arm"] == name]
        by_seed[name] = dict(zip(seeds, values_of_seeds(results, name, dataset, metric)))
    return [value - by_seed[other][s] for s, value in by_seed[arm].items() if s in by_seed[other]]


def gain_and_sd(gains: Sequence[float]) -> str:
    """As :func:`mean_and_sd`, with a sign: "+1.2 (0.3)"; empty where no seed is shared."""
    if not gains:
        return ""
    return ("+" if np.mean(gains) >= 0 else "") + mean_and_sd(gains)


def _link(results: Mapping[str, Any], arm: str, page_dir: Path) -> str:
    file = next(t["config_file"] for t in results["trials"] if t["arm"] == arm)
    return f"[{arm}]({config_link(file, page_dir)})"


def write_semantic_report(output_dir: Path, results: Mapping[str, Any]) -> None:
    """Write ``semantic_results.json`` and ``semantic_report.md``."""
    write_json(output_dir / RESULTS_FILE, results, indent=1)
    write_text(output_dir / REPORT_FILE, semantic_page(results, output_dir))


def semantic_page(results: Mapping[str, Any], page_dir: Path) -> str:
    """The report as Markdown, for a page in the folder ``page_dir``."""
    lines = ["# Semantic segmentation", "", f"`{results['command']}`", ""]
    for name in results["datasets"]:
        lines += [f"## {name}", "", semantic_table(results, name, page_dir), ""]
    lines += ["## How to read the tables", "", HOW_TO_READ, ""]
    first = results["trials"][0]
    iterations = sorted({trial["iterations"] for trial in results["trials"]})
    lines += [
        f"{' or '.join(map(str, iterations))} iterations, {first['threads']} threads, "
        f"{first['trainings_at_a_time']} at a time; code {first['fingerprint']['code']}, data "
        f"{first['fingerprint']['data']}.",
        "",
    ]
    lines += [made_with(key, first[key]) for key in ("machine", "versions")]
    lines += [f"- {name}: {problem}" for name, problem in results["failed"].items()]
    return "\n".join(lines) + "\n"
