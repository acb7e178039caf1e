"""Train and evaluate every arm with every seed, each in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from maskrcnnpp.benchmark.fingerprint import (
    code_fingerprint,
    config_fingerprint,
    data_fingerprint,
    machine,
    versions,
)
from maskrcnnpp.data.catalog import check_dataset_is_prepared
from maskrcnnpp.engine import build_config
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.evaluation.coco_evaluation import METRICS_FILE
from maskrcnnpp.files import write_json

TRIAL_FILE = "trial.json"
LOG_FILE = "output.log"
_POLL_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class Trial:
    """One training: an arm, which is a config, and a seed."""

    config_file: str
    seed: int
    output_dir: Path
    cfg: CfgNode

    @property
    def arm(self) -> str:
        return Path(self.config_file).stem

    @property
    def name(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    def fingerprint(self) -> dict[str, str]:
        return {
            "code": code_fingerprint(),
            "config": config_fingerprint(self.cfg),
            "data": data_fingerprint(self.cfg),
        }

    def result(self) -> dict[str, Any] | None:
        """What :func:`run_trials` kept of it, or None where it has not finished.

        Raises:
            DataError: the result there is of other code, config or data.
        """
        path = self.output_dir / TRIAL_FILE
        if not path.is_file():
            return None
        result = json.loads(path.read_text(encoding="utf-8"))
        differs = [k for k, v in self.fingerprint().items() if result["fingerprint"][k] != v]
        if differs:
            raise DataError(
                f"{path} is a result of other {' and '.join(differs)} and is not mixed in: "
                "choose another --output-dir, or remove that folder to run it again"
            )
        return result


def plan_trials(
    config_files: Sequence[str], seeds: Sequence[int], output_dir: Path, opts: Sequence[str] = ()
) -> list[Trial]:
    """Every arm with every seed, seed by seed, so that an early stop leaves whole comparisons.

    Raises:
        ConfigError: a config is unknown or impossible, or two arms share a name.
        DataError: a data set has not been prepared.
    """
    names = [Path(config_file).stem for config_file in config_files]
    if len(set(names)) < len(names):
        raise ConfigError(f"an arm is named after its config file; two are the same: {names}")
    trials = []
    for seed in seeds:
        for config_file, name in zip(config_files, names):
            folder = output_dir / name / f"seed{seed}"
            # results are for the report to judge; a miss must not end the benchmark
            words = [*opts, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
            cfg = build_config(config_file, [*words, "TEST.EXPECTED_RESULTS", "[]"])
            for dataset in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
                check_dataset_is_prepared(dataset)
            trials.append(Trial(config_file, seed, folder, cfg))
    return trials


def run_trials(
    trials: Sequence[Trial], *, jobs: int = 1, report: Callable[[str], None] = print
) -> list[str]:
    """Run the trials that have not finished. A stopped training goes on at its last checkpoint.

    Args:
        jobs: trainings at a time, each with its share of the cores.
        report: called with a line of progress now and then.

    Returns:
        Names of trials that failed; their output is in output.log of their folders.
    """
    waiting = [trial for trial in trials if trial.result() is None]
    running: dict[Trial, tuple[subprocess.Popen, float]] = {}
    failed = []
    threads = max(1, (os.cpu_count() or 1) // jobs)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.pop(0)
                running[trial] = (_start(trial, threads), time.time())
            time.sleep(_POLL_SECONDS)
            for trial, (process, started) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[trial]
                if process.returncode == 0:
                    _keep(trial, threads, jobs, time.time() - started)
                    report(f"{trial.name}: finished")
                else:
                    failed.append(trial.name)
                    report(f"{trial.name}: failed, see {trial.output_dir / LOG_FILE}")
            report(_progress(running, waiting))
    finally:
        for process, _ in running.values():
            process.terminate()
    return failed


def _start(trial: Trial, threads: int) -> subprocess.Popen:
    trial.output_dir.mkdir(parents=True, exist_ok=True)
    config = trial.output_dir / "trial_config.yaml"
    config.write_text(trial.cfg.dump(), encoding="utf-8")
    command = [sys.executable, "-m", "maskrcnnpp.engine", "--config-file", str(config), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with open(trial.output_dir / LOG_FILE, "a", encoding="utf-8") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _keep(trial: Trial, threads: int, jobs: int, seconds: float) -> None:
    """Write trial.json: the metrics and all that they depend on."""
    metrics = {}
    for dataset in trial.cfg.DATASETS.TEST:
        path = trial.output_dir / "inference" / dataset / METRICS_FILE
        metrics[dataset] = json.loads(path.read_text(encoding="utf-8"))
    times = [e["time"] for e in _training_log(trial) if "time" in e]
    result = {
        "arm": trial.arm,
        "config_file": trial.config_file,
        "seed": trial.seed,
        "iterations": trial.cfg.SOLVER.MAX_ITER,
        "metrics": metrics,
        "seconds_per_iteration": statistics.median(times) if times else None,
        "seconds": round(seconds, 1),
        "threads": threads,
        "trainings_at_a_time": jobs,
        "fingerprint": trial.fingerprint(),
        "machine": machine(),
        "versions": versions(),
    }
    write_json(trial.output_dir / TRIAL_FILE, result, indent=2)


def _training_log(trial: Trial) -> list[dict[str, Any]]:
    """Lines of Detectron2's metrics.json; a half-written last one is left out."""
    entries = []
    try:
        lines = (trial.output_dir / "metrics.json").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def _progress(running: dict[Trial, Any], waiting: Sequence[Trial]) -> str:
    words = []
    for trial in running:
        log = [e for e in _training_log(trial) if "iteration" in e]
        iteration = log[-1]["iteration"] + 1 if log else 0
        left = trial.cfg.SOLVER.MAX_ITER - iteration
        seconds = [e["time"] for e in log if "time" in e]
        eta = f", {left * statistics.median(seconds) / 60:.0f} min left" if seconds else ""
        words.append(f"{trial.name}: {iteration}/{trial.cfg.SOLVER.MAX_ITER}{eta}")
    return "; ".join([*words, f"{len(waiting)} waiting"])
