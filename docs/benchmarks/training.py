#!/usr/bin/env python
"""Measure a training iteration: stock, Mask R-CNN++ at equal settings, and each option of it.

    python docs/benchmarks/training.py

writes training.json and training.md beside this file. The configs are those of configs/quick, on
synthetic nuclei. Times are of iterations in turn, in one process; memory is the most that a process
of its own had for a few of them.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.data.datasets import register_coco_instances
from tqdm import tqdm

from maskrcnnpp.benchmark.cost import in_own_process
from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.synthetic import synthetic_samples
from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.progress import peak_memory

RECORD, PAGE = record_files(__file__)
DATA = "training_benchmark"
IMAGES, SIDE = 16, 256
REPEATS, WARM_UP = 30, 3
STOCK, NESTED = "mask_rcnn_R_18_FPN", "maskrcnnpp_R_18_nested_fpn"
EMA, AMP = "SOLVER.EMA_DECAY 0.999", "SOLVER.AMP.ENABLED True, bfloat16"
#: Name of a row, config, and what is set beside it.
ROWS: dict[str, tuple[str, Sequence[str]]] = {
    "stock": (STOCK, ()),
    "Mask R-CNN++": (NESTED, ()),
    "SOLVER.ACCUMULATE 2": (NESTED, ("SOLVER.ACCUMULATE", "2")),
    "MODEL.NESTED_FPN.CHECKPOINTING": (NESTED, ("MODEL.NESTED_FPN.CHECKPOINTING", "True")),
    "MODEL.CHANNELS_LAST": (NESTED, ("MODEL.CHANNELS_LAST", "True")),
    AMP: (NESTED, ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16")),
    "SOLVER.OPTIMIZER SGD": (NESTED, ("SOLVER.OPTIMIZER", "SGD")),
}


def write_data(folder: Path) -> None:
    samples = synthetic_samples(IMAGES, height=SIDE, width=SIDE, count=(40, 80), seed=0, prefix="a")
    with CocoDatasetWriter(folder, info={}) as writer:
        names = []
        for sample in samples:
            writer.add(sample)
            names.append(sample.name)
        writer.commit({"train": names})


def trainer_of(row: str, folder: Path) -> Trainer:
    config, options = ROWS[row]
    with contextlib.suppress(AssertionError):  # it is known already
        truth = folder / "annotations" / "instances_train.json"
        register_coco_instances(DATA, {}, str(truth), str(folder / "images"))
    opts = ["DATASETS.TRAIN", f"('{DATA}',)", "DATASETS.TEST", "()", "OUTPUT_DIR", str(folder)]
    return Trainer(build_config(f"configs/quick/{config}.yaml", [*opts, *options]))


def timed(steps: Iterator[Any]) -> float:
    begin = time.perf_counter()
    next(steps)
    return time.perf_counter() - begin


def measure_times(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of each iteration of each row, taken in turn."""
    count = WARM_UP + repeats
    steps = {row: trainer_of(row, folder).bare_steps(count) for row in ROWS}
    times: dict[str, list[float]] = {row: [] for row in ROWS}
    for _ in tqdm(range(count), desc="rounds"):
        for row in ROWS:
            times[row].append(timed(steps[row]))
    return {row: seconds[WARM_UP:] for row, seconds in times.items()}


def measure_memory(row: str, folder: Path) -> int:
    """Bytes, of this process."""
    for _ in trainer_of(row, folder).bare_steps(WARM_UP + 2):
        pass
    return peak_memory()


def measure_all(repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        memory = {row: in_own_process(measure_memory, row, folder) for row in ROWS}
        times = measure_times(folder, repeats)
    rows = [
        {
            "row": row,
            "milliseconds": round(1000 * statistics.median(times[row]), 1),
            "quartiles": [round(1000 * x, 1) for x in statistics.quantiles(times[row], n=4)[::2]],
            "mebibytes": round(memory[row] / 2**20),
        }
        for row in ROWS
    ]
    return {
        "rows": rows,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        **origin(),
    }


def page(found: Mapping[str, Any]) -> str:
    by_row = {entry["row"]: entry for entry in found["rows"]}
    rows = []
    for row, entry in by_row.items():
        other = by_row["stock" if row == "Mask R-CNN++" else "Mask R-CNN++"]
        ratios = [
            "" if row == "stock" else f"{entry[key] / other[key]:.2f}"
            for key in ("milliseconds", "mebibytes")
        ]
        low, high = entry["quartiles"]
        rows.append(
            [
                row,
                f"{entry['milliseconds']:.0f} ({low:.0f} to {high:.0f})",
                ratios[0],
                f"{entry['mebibytes']}",
                ratios[1],
            ]
        )
    headers = ["", "ms an iteration (quartiles)", "ratio", "MiB", "ratio"]
    lines = [
        "# A training iteration",
        "",
        f"Configs of configs/quick on synthetic images, {found['repeats']} iterations in turn,",
        f"{found['threads']} threads; memory is the peak of the whole process. Mask R-CNN++ is",
        "compared with stock, an option with Mask R-CNN++ without it. Written by",
        "`python docs/benchmarks/training.py`.",
        "",
        markdown_table(headers, rows),
        "",
        "`MODEL.COMPILE` is not among them: on this kind of machine compiling alone takes minutes,",
        "longer than the training.",
        "",
    ]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure_all, page, repeats=REPEATS)
