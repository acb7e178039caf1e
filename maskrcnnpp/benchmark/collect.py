"""Results of the finished trainings, scored and compared: the content of results.json."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from tqdm import tqdm

from maskrcnnpp.benchmark.cost import count_parameters
from maskrcnnpp.benchmark.largest_differences import write_largest_differences
from maskrcnnpp.benchmark.results import FORMAT
from maskrcnnpp.benchmark.runner import Trial
from maskrcnnpp.benchmark.scoring import COMPARED, Scored, score_predictions
from maskrcnnpp.benchmark.statistics import difference, replicate, resampled_images
from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.engine.training_log import read_training_log
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.evaluation import load_coco_truth
from maskrcnnpp.evaluation.coco_evaluation import RESULTS_FILE as PREDICTIONS_FILE
from maskrcnnpp.evaluation.semantic_evaluation import read_metrics

#: Replicates of the bootstrap.
REPLICATES = 1000
_CURVE_POINTS = 60


@dataclass(frozen=True)
class External:
    """Predictions that something else made: a row of the tables that was not trained here."""

    name: str
    files: list[str]  #: COCO results, one for each run; {dataset} in it stands for the data set

    @classmethod
    def parse(cls, words: Sequence[str]) -> list[External]:
        """``NAME=FILE`` of the command line; a name that is given twice has two runs.

        Raises:
            ConfigError: not of that form.
        """
        by_name: dict[str, list[str]] = {}
        for word in words:
            name, _, file = word.partition("=")
            if not name or not file:
                raise ConfigError(f"--external {word}: it has the form NAME=results.json")
            by_name.setdefault(name, []).append(file)
        return [cls(name, files) for name, files in by_name.items()]

    def check(self, arms: Sequence[str], datasets: Sequence[str]) -> None:
        """Check what can be before hours of training.

        Raises:
            ConfigError: an arm has its name.
            DataError: a file is missing.
        """
        if self.name in arms:
            raise ConfigError(f"--external {self.name}: an arm has that name; choose another")
        for file in self.files:
            for name in datasets:
                path = file.replace("{dataset}", folder_name(name))
                if not os.path.isfile(path):
                    raise DataError(f"--external {self.name}: there is no file {path}")


@dataclass(frozen=True, eq=False)
class Row:
    """An arm with one seed, scored on each data set."""

    arm: str
    seed: int
    kept: Mapping[str, Any]  #: how it came to be, for results.json
    scored: dict[str, Scored]  #: its objects
    pixels: dict[str, Mapping[str, float | None]] = field(default_factory=dict)  #: IoU, Dice, ...

    def entry(self) -> dict[str, Any]:
        """Its place in ``trials`` of results.json."""
        metrics = {name: _plain(scored.metrics) for name, scored in self.scored.items()}
        for name, found in self.pixels.items():
            metrics.setdefault(name, {})["pixels"] = _plain(found)
        return {**self.kept, "arm": self.arm, "seed": self.seed, "metrics": metrics}


def collect(
    trials: Sequence[Trial],
    externals: Sequence[External] = (),
    *,
    arms: Sequence[str],
    command: str,
    sheet: str | os.PathLike,
    failed: Mapping[str, str] = {},
    replicates: int = REPLICATES,
) -> dict[str, Any]:
    """Score what has finished; compare every arm with the first, and the last with every arm.

    Of arms that predict pixels these are judged too, and objects only where the data has some. The
    first of DATASETS.TEST is where score thresholds are tuned; on the last one the bootstrap
    is run, so that tuning and judging can be done on different images.

    Args:
        trials: planned ones; those that have not finished are left out.
        externals: other predictions, scored alike; those that are none join ``failed``.
        arms: all that was asked for; the first is the reference, the last is judged.
        command: how it was called.
        sheet: where the images are drawn on which the judged arm and the reference differ most.
        failed: what went wrong, by the trial's name.

    Raises:
        DataError: predictions of a training are missing or do not fit the data; none has finished.
    """
    finished = [(trial, kept) for trial in trials if (kept := trial.result())]
    if not finished:
        raise DataError("no training has finished" + "".join(f"; {v}" for v in failed.values()))
    failed = dict(failed)
    cfg = finished[0][0].cfg
    datasets = list(cfg.DATASETS.TEST)
    truths = {}
    if any(has_objects(trial.cfg) for trial, _ in finished):
        truths = {name: load_coco_truth(MetadataCatalog.get(name).json_file) for name in datasets}
    options = {"max_dets": cfg.TEST.DETECTIONS_PER_IMAGE, "area_bins": list(cfg.TEST.AREA_BINS)}

    rows = []
    of_pixels: dict[str, CfgNode] = {}
    for trial, kept in tqdm(finished, desc="scoring", unit="trial"):
        scored, pixels = {}, {}
        if has_objects(trial.cfg):
            file = str(trial.output_dir / "inference" / "{dataset}" / PREDICTIONS_FILE)
            scored = score_file(file, truths, options)
        if is_semantic(trial.cfg):
            of_pixels[trial.arm] = trial.cfg
            pixels = {name: read_metrics(trial.output_dir, name) for name in datasets}
        curves = {"curves": _curves(trial)}
        rows.append(Row(trial.arm, trial.seed, {**kept, **curves}, scored, pixels))
    rows.sort(key=lambda row: list(arms).index(row.arm))  # stable: seeds stay in order
    for external in externals:
        for run, file in enumerate(external.files):
            try:
                scored = score_file(file, truths, options)
            except DataError as error:
                failed[f"{external.name}, run {run}"] = str(error)
                continue
            rows.append(Row(external.name, run, {"external": file}, scored))

    judged_on = datasets[-1]
    others = dict.fromkeys(row.arm for row in rows)
    pairs = [*((arm, arms[0]) for arm in others), *((arms[-1], arm) for arm in others)]
    return {
        "format": FORMAT,
        "command": command,
        "reference": arms[0],
        "judged": arms[-1],
        "evaluation": {
            **options,
            "datasets": {
                name: {"images": len(t["images"]), "truths": len(t["annotations"])}
                for name, t in truths.items()
            }
            or {name: {} for name in datasets},
        },
        "parameters": {arm: _parameters(cfg) for arm, cfg in of_pixels.items()},
        "trials": [row.entry() for row in rows],
        "replicates": replicates,
        "differences": {judged_on: compare(rows, pairs, judged_on, replicates)},
        **_widest(rows, (arms[0], arms[-1]), judged_on, truths.get(judged_on, {}), sheet),
        "failed": failed,
    }


def has_objects(cfg: CfgNode) -> bool:
    """Whether an arm is judged by objects: all data has some, and no classes overlap."""
    if is_semantic(cfg) and cfg.MODEL.SEM_SEG_HEAD.REGIONS:
        return False
    kinds = [MetadataCatalog.get(name).get("evaluator_type") for name in cfg.DATASETS.TEST]
    return "sem_seg" not in kinds


def _parameters(cfg: CfgNode) -> int:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    return count_parameters(build_model(cfg))["total"]


def score_file(
    file: str, truths: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]
) -> dict[str, Scored]:
    """Score a file for each data set, the first of which tunes the threshold for all.

    A file without {dataset} is of the last one only, and shows all it has: there is nothing else
    to tune a threshold on.

    Args:
        file: COCO results; {dataset} in it stands for the name of the data set.
        truths: COCO dicts by name.
        options: ``max_dets`` and ``area_bins``.

    Raises:
        DataError: it is missing, or no COCO results of the data set.
    """
    if not truths:
        raise DataError(f"{file} cannot be scored: DATASETS.TEST has no objects")
    threshold: dict[str, float] = {}
    names = list(truths)
    if "{dataset}" not in file:
        threshold, names = {"score_threshold": -math.inf}, names[-1:]
    scored: dict[str, Scored] = {}
    for name in names:
        path = file.replace("{dataset}", folder_name(name))
        try:
            with open(path, encoding="utf-8") as handle:
                predictions = json.load(handle)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as COCO results: {error}") from error
        try:
            scored[name] = score_predictions(truths[name], predictions, **options, **threshold)
        except (DataError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not COCO results of {name}: {error}") from error
        threshold = {"score_threshold": scored[name].metrics["score_threshold"]}
    return scored


def compare(
    rows: Sequence[Row], pairs: Sequence[tuple[str, str]], dataset: str, replicates: int
) -> dict[str, Any]:
    """The difference of each pair of arms, with its interval, on one data set.

    Args:
        pairs: arms; the second is subtracted. One that cannot be compared is left out.

    Returns:
        arm -> what is subtracted from it -> metric -> mean, low, high, p_value.
    """
    rows = [row for row in rows if dataset in row.scored]
    if not rows:
        return {}
    weights = resampled_images(len(rows[0].scored[dataset].counts), replicates)
    values: dict[str, dict[int, dict[str, float]]] = {}
    resampled: dict[str, dict[int, dict]] = {}
    external = {row.arm for row in rows if "external" in row.kept}
    for row in tqdm(rows, desc="bootstrap", unit="trial"):
        values.setdefault(row.arm, {})[row.seed] = row.scored[dataset].compared()
        resampled.setdefault(row.arm, {})[row.seed] = replicate(row.scored[dataset], weights)
    found: dict[str, Any] = {}
    for arm, other in dict.fromkeys(pairs):
        paired = not {arm, other} & external
        if arm == other or not {arm, other} <= set(values):
            continue
        if paired and not set(values[arm]) & set(values[other]):
            continue
        found.setdefault(arm, {})[other] = {
            metric: _plain(
                asdict(
                    difference(
                        *(_of(values[name], metric) for name in (arm, other)),
                        *(_of(resampled[name], metric) for name in (arm, other)),
                        paired=paired,
                    )
                )
            )
            for metric in COMPARED
        }
    return found


def _widest(
    rows: Sequence[Row],
    arms: tuple[str, str],
    dataset: str,
    truth: Mapping[str, Any],
    sheet: str | os.PathLike,
) -> dict[str, Any]:
    """Draw the widest differences of two arms, with the first seed that both have.

    Returns:
        ``widest``, and ``widest_not_drawn`` with the reason where it was not possible.
    """
    by_seed: dict[int, dict[str, Scored]] = {}
    for row in rows:
        if row.arm in arms and dataset in row.scored:
            by_seed.setdefault(row.seed, {})[row.arm] = row.scored[dataset]
    both = [found for _, found in sorted(by_seed.items()) if len(found) == 2]
    if not both:
        return {"widest": []}
    try:
        found = write_largest_differences(
            sheet, dataset, truth, {arm: both[0][arm] for arm in arms}
        )
    except DataError as error:  # one image that cannot be read is no reason to lose the rest
        return {"widest": [], "widest_not_drawn": str(error)}
    return {"widest": found}


def _of(by_seed: Mapping[int, Mapping[str, Any]], metric: str) -> dict[int, Any]:
    return {seed: values[metric] for seed, values in by_seed.items()}


def _curves(trial: Trial) -> dict[str, list[float]]:
    """Iterations and total loss of the training, at most 60 points."""
    log = [e for e in read_training_log(trial.output_dir) if "total_loss" in e]
    log = log[:: max(1, math.ceil(len(log) / _CURVE_POINTS))]
    return {
        "iteration": [entry["iteration"] for entry in log],
        "total_loss": [round(entry["total_loss"], 4) for entry in log],
    }


def _plain(value: Any) -> Any:
    """For JSON: nan as None, floats to 6 digits after the point."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
