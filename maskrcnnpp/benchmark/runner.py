"""Train and evaluate every arm with every seed, each in a process of its own."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from maskrcnnpp.benchmark.fingerprint import (
    code_fingerprint,
    config_fingerprint,
)
from maskrcnnpp.config_reader import build_config, check_weights
from maskrcnnpp.data.fingerprint import data_fingerprint
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.engine.setup import check_config
from maskrcnnpp.engine.training_log import read_training_log, seconds_per_iteration
from maskrcnnpp.environment import machine, versions
from maskrcnnpp.errors import ConfigError, DataError, OutputError, UserError
from maskrcnnpp.evaluation import load_coco_truth
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.modeling.sem_seg_head import has_deep_head

STARTED_FILE = "started.json"
TRIAL_FILE = "trial.json"
CONFIG_FILE = "trial_config.yaml"
LOG_FILE = "output.log"
# what decides how images are read and augmented, and how predictions are made and judged
_ALIKE = (
    *("DATASETS.TEST", "TEST.DETECTIONS_PER_IMAGE", "TEST.AREA_BINS"),
    *("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST", "INPUT.FORMAT"),
    *("INPUT.CHANNELS", "INPUT.PERCENTILES", "INPUT.AUGMENT"),
)
_POLL_SECONDS = 2.0
_REPORT_SECONDS = 30.0
_REASON_CHARACTERS = 160
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
# output.log of a training that was stopped and went on holds several of these
_BEGIN = "=== training starts ==="
# last line of a traceback, and what exit_on_user_error prints
_ERROR = re.compile(r"error: |[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b")


def arm_name(config_file: str) -> str:
    """Name of an arm: its config file, without folder and ending."""
    return Path(config_file).stem


@dataclass(frozen=True, eq=False)
class Trial:
    """One training: an arm, which is a config, and a seed."""

    config_file: str
    seed: int
    output_dir: Path
    cfg: CfgNode

    @property
    def arm(self) -> str:
        return arm_name(self.config_file)

    @property
    def name(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    @property
    def kept_config(self) -> Path:
        """Its config as a file, once it has been started."""
        return self.output_dir / CONFIG_FILE

    @property
    def weights(self) -> Path:
        """Its checkpoint, once it has finished."""
        return self.output_dir / "model_final.pth"

    def fingerprint(self) -> dict[str, str]:
        return {
            "code": code_fingerprint(),
            "config": config_fingerprint(self.cfg),
            "data": data_fingerprint((*self.cfg.DATASETS.TRAIN, *self.cfg.DATASETS.TEST)),
        }

    def result(self) -> dict[str, Any] | None:
        """The record that :func:`run_trials` kept of it, or None where it has not finished.

        Raises:
            DataError: what lies in its folder is of other code, config or data.
        """
        kept = None
        for name in (STARTED_FILE, TRIAL_FILE):
            path = self.output_dir / name
            if path.is_file():
                kept = json.loads(path.read_text(encoding="utf-8"))
                self.check_fingerprint(kept["fingerprint"])
        return kept if (self.output_dir / TRIAL_FILE).is_file() else None

    def check_fingerprint(self, found: Mapping[str, str]) -> None:
        differs = [k for k, v in self.fingerprint().items() if found.get(k) != v]
        if differs:
            raise DataError(
                f"{self.output_dir} holds a training of other {' and '.join(differs)}, which is "
                "not mixed in: choose another --output-dir, or remove that folder to run it again"
            )


def plan_trials(
    config_files: Sequence[str], seeds: Sequence[int], output_dir: Path, opts: Sequence[str] = ()
) -> tuple[list[Trial], dict[str, str]]:
    """Every arm with every seed, seed by seed, so that an early stop leaves whole comparisons.

    Returns:
        The trials, and by arm what is wrong with those whose config cannot be trained: it is
        unknown or impossible, or names weights or data that are not there.

    Raises:
        ConfigError: two arms share a name, a seed is impossible, or no arm can be trained.
    """
    names = [arm_name(config_file) for config_file in config_files]
    if len(set(names)) < len(names):
        raise ConfigError(f"an arm is named after its config file; two are the same: {names}")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"seeds are {list(seeds)}; each must be 0 or more, and given once")
    if {"SEED", "OUTPUT_DIR"} & set(opts[::2]):
        raise ConfigError("SEED and OUTPUT_DIR differ by trial: use --seeds and --output-dir")
    trials: list[Trial] = []
    problems: dict[str, str] = {}
    for seed in seeds:
        for config_file, name in zip(config_files, names):
            folder = output_dir / name / f"seed{seed}"
            words = [*opts, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
            try:
                trials.append(Trial(config_file, seed, folder, _trial_config(config_file, words)))
            except UserError as error:
                problems[name] = str(error)
    if not trials:
        raise ConfigError("; ".join(problems.values()))
    _check_alike(trials)
    return trials, problems


def _check_alike(trials: Sequence[Trial]) -> None:
    cfg = trials[0].cfg
    for key in itertools.chain.from_iterable(_leaves(cfg, key) for key in _ALIKE):
        values = {str(_value(trial.cfg, key)) for trial in trials}
        if len(values) > 1:
            raise ConfigError(
                f"{key} differs between the arms, which are to see and be judged on the same: "
                f"{' and '.join(sorted(values))}"
            )


def _leaves(cfg: CfgNode, key: str) -> list[str]:
    """A key, or those below it."""
    value = _value(cfg, key)
    return [f"{key}.{name}" for name in value] if isinstance(value, CfgNode) else [key]


def _value(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _trial_config(config_file: str, opts: Sequence[str]) -> CfgNode:
    # results are for the report to judge; a miss must not end the benchmark
    cfg = build_config(config_file, [*opts, "TEST.EXPECTED_RESULTS", "[]"])
    check_config(cfg)
    check_weights(cfg)
    if not cfg.DATASETS.TEST or not (cfg.MODEL.MASK_ON or is_semantic(cfg)):
        raise ConfigError(
            f"{config_file}: masks are compared; DATASETS.TEST must name a data set and "
            "MODEL.MASK_ON be True, or the model one of semantic segmentation"
        )
    if is_semantic(cfg) and not has_deep_head(cfg):
        raise ConfigError(
            f"{config_file}: MODEL.SEM_SEG_HEAD.NAME {cfg.MODEL.SEM_SEG_HEAD.NAME} is judged by "
            "Detectron2's evaluator, whose numbers are not comparable; DeepSupervisionSemSegHead is"
        )
    for name in cfg.DATASETS.TEST:
        if MetadataCatalog.get(name).get("evaluator_type") != "sem_seg":
            check_test_set(name)
    return cfg


def check_test_set(name: str) -> None:
    """Check that a data set has a COCO file with objects to compare with.

    Raises:
        ConfigError: it has none.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type", "coco") != "coco":
        raise ConfigError(
            f"DATASETS.TEST names {name}, whose evaluator_type is {metadata.evaluator_type!r}; AP "
            "is compared on COCO data"
        )
    for key in ("json_file", "image_root"):
        if not metadata.get(key):
            raise ConfigError(
                f"DATASETS.TEST names {name}, whose metadata has no {key}: register it with "
                "detectron2.data.datasets.register_coco_instances"
            )
    if not load_coco_truth(metadata.json_file).get("annotations"):
        raise ConfigError(f"DATASETS.TEST names {name}, which has no annotations to compare with")


def run_trials(
    trials: Sequence[Trial], *, jobs: int = 1, report: Callable[[str], None] = print
) -> dict[str, str]:
    """Run the trials that have not finished. A stopped training goes on at its last checkpoint.

    Args:
        jobs: trainings at a time, each with its share of the cores.
        report: called with a line of progress now and then.

    Returns:
        What went wrong, by the name of the trial; the output is in output.log of its folder.
    """
    waiting = [trial for trial in trials if trial.result() is None]
    running: dict[Trial, subprocess.Popen] = {}
    failed: dict[str, str] = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    reported = 0.0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.pop(0)
                running[trial] = _start(trial, threads, jobs)
            time.sleep(_POLL_SECONDS)
            for trial in [t for t, process in running.items() if process.poll() is not None]:
                problem = _finish(trial, running.pop(trial).returncode)
                report(f"{trial.name}: {problem or 'finished'}")
                if problem:
                    failed[trial.name] = problem
            if running and time.monotonic() - reported > _REPORT_SECONDS:
                report(_progress(running, waiting, jobs))
                reported = time.monotonic()
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    return failed


def _end_with_benchmark() -> None:
    """Let a starting training get SIGTERM when the benchmark ends in any way (Linux)."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def _start(trial: Trial, threads: int, jobs: int) -> subprocess.Popen:
    write_text(trial.kept_config, trial.cfg.dump())
    # now and not at the end: it is this code that the process imports
    started = {
        "arm": trial.arm,
        "config_file": trial.config_file,
        "seed": trial.seed,
        "iterations": trial.cfg.SOLVER.MAX_ITER,
        "threads": threads,
        "trainings_at_a_time": jobs,
        "fingerprint": trial.fingerprint(),
        "machine": machine(),
        "versions": versions(),
    }
    write_json(trial.output_dir / STARTED_FILE, started, indent=2)
    command = [
        sys.executable,
        "-m",
        "maskrcnnpp",
        "train",
        "--config-file",
        str(trial.kept_config),
        "--resume",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    path = trial.output_dir / LOG_FILE
    try:
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{_BEGIN}\n")
            log.flush()
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_end_with_benchmark if sys.platform == "linux" else None,
            )
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _finish(trial: Trial, exit_status: int) -> str:
    """Write trial.json: what was known at the start, and the time. Returns what went wrong."""
    log = trial.output_dir / LOG_FILE
    see = f"see {log}"
    if exit_status != 0:
        return f"failed{_reason(exit_status, log)}; {see}"
    result = json.loads((trial.output_dir / STARTED_FILE).read_text(encoding="utf-8"))
    try:
        trial.check_fingerprint(result["fingerprint"])
    except DataError as error:
        return f"failed: {error}; {see}"
    result["seconds_per_iteration"] = seconds_per_iteration(read_training_log(trial.output_dir))
    write_json(trial.output_dir / TRIAL_FILE, result, indent=2)
    return ""


def _reason(exit_status: int, log: Path) -> str:
    """Why a process ended: its signal, or the error its output ends with."""
    if exit_status < 0:
        return f": killed by {signal.Signals(-exit_status).name}"
    this_time = log.read_text(encoding="utf-8", errors="replace").rpartition(_BEGIN)[2]
    errors = [line for line in this_time.splitlines() if _ERROR.match(line)]
    if not errors:
        return f" with exit status {exit_status}"
    words = errors[-1].strip()
    return f": {words[:_REASON_CHARACTERS]}{' ...' * (len(words) > _REASON_CHARACTERS)}"


def _progress(running: Iterable[Trial], waiting: Sequence[Trial], jobs: int) -> str:
    words, left, whole = [], [], []
    for trial in running:
        log = read_training_log(trial.output_dir)
        iteration = log[-1]["iteration"] + 1 if log else 0
        total = trial.cfg.SOLVER.MAX_ITER
        words.append(f"{trial.name}: iteration {iteration} of {total}")
        if seconds := seconds_per_iteration(log):
            left.append((total - iteration) * seconds / 60)
            whole.append(total * seconds / 60)
            words[-1] += f", {left[-1]:.0f} min left"
    words.append(f"{len(waiting)} more to run")
    if waiting and whole:
        usual = sum(whole) / len(whole)
        unknown = len(words) - 1 - len(whole)  # running, and not one iteration logged
        in_all = (sum(left) + (len(waiting) + unknown) * usual) / jobs
        words[-1] += f", about {in_all:.0f} min of training in all"
    return "; ".join(words)
