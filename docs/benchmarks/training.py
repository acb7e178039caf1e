#!/usr/bin/env python
"""Measure a training iteration: stock, Mask R-CNN++ at equal settings, and each option of it.

    python docs/benchmarks/training.py

writes training.json and training.md beside this file. The configs are those of configs/cpu, and
for comparison those of configs/quick, on synthetic nuclei; one thread. Times are of iterations in
turn, in one process; memory is the most that a process of its own had for a few of them.
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
STOCK, NESTED = "cpu/mask_rcnn_lite0_FPN", "cpu/maskrcnnpp_lite0_nested_fpn"
OURS = "Mask R-CNN++"
DEEP = "MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS"
#: Name of a row, config, what is set beside it, and the row that it is compared with.
ROWS: dict[str, tuple[str, Sequence[str], str]] = {
    "stock, ResNet-18": ("quick/mask_rcnn_R_18_FPN", (), ""),
    "Mask R-CNN++, ResNet-18": ("quick/maskrcnnpp_R_18_nested_fpn", (), "stock, ResNet-18"),
    "stock": (STOCK, (), "stock, ResNet-18"),
    OURS: (NESTED, (), "stock"),
    "dense finest row": ("benchmark/lite0/dense", (), OURS),
    f"{DEEP} 0.5": (NESTED, (DEEP, "[0.5, 0.5, 0.5]"), OURS),
    "SOLVER.ACCUMULATE 2": (NESTED, ("SOLVER.ACCUMULATE", "2"), OURS),
    "MODEL.NESTED_FPN.CHECKPOINTING": (NESTED, ("MODEL.NESTED_FPN.CHECKPOINTING", "True"), OURS),
    "MODEL.CHANNELS_LAST False": (NESTED, ("MODEL.CHANNELS_LAST", "False"), OURS),
    "SOLVER.AMP.ENABLED True, bfloat16": (
        NESTED,
        ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16"),
        OURS,
    ),
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
    config, options, _ = ROWS[row]
    with contextlib.suppress(AssertionError):  # it is known already
        truth = folder / "annotations" / "instances_train.json"
        register_coco_instances(DATA, {}, str(truth), str(folder / "images"))
    opts = ["DATASETS.TRAIN", f"('{DATA}',)", "DATASETS.TEST", "()", "OUTPUT_DIR", str(folder)]
    return Trainer(build_config(f"configs/{config}.yaml", [*opts, *options]))


def timed(steps: Iterator[Any]) -> float:
    begin = time.process_time()  # with one thread: what the other work of a machine does not change
    next(steps)
    return time.process_time() - begin


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
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        memory = {row: in_own_process(measure_memory, row, folder) for row in ROWS}
        times = measure_times(folder, repeats)
    rows = [
        {
            "row": row,
            "beside": beside,
            "milliseconds": round(1000 * statistics.median(times[row]), 1),
            "quartiles": [round(1000 * x, 1) for x in statistics.quantiles(times[row], n=4)[::2]],
            "mebibytes": round(memory[row] / 2**20),
        }
        for row, (_, _, beside) in ROWS.items()
    ]
    return {
        "rows": rows,
        "repeats": repeats,
        **origin(),
    }


def page(found: Mapping[str, Any]) -> str:
    by_row = {entry["row"]: entry for entry in found["rows"]}
    rows = []
    for row, entry in by_row.items():
        other = by_row.get(entry["beside"])
        ratios = [
            f"{entry[key] / other[key]:.2f}" if other else ""
            for key in ("milliseconds", "mebibytes")
        ]
        low, high = entry["quartiles"]
        rows.append(
            [
                row,
                entry["beside"],
                f"{entry['milliseconds']:.0f} ({low:.0f} to {high:.0f})",
                ratios[0],
                f"{entry['mebibytes']}",
                ratios[1],
            ]
        )
    headers = ["", "beside", "CPU-ms an iteration (quartiles)", "ratio", "MiB", "ratio"]
    lines = [
        "# A training iteration",
        "",
        "Configs of configs/cpu (EfficientNet-Lite0) and configs/quick (ResNet-18), crops of 128,",
        f"four a batch, of synthetic images, {found['repeats']} iterations in turn. Times are of",
        "one thread, in CPU-seconds; memory is the peak of the whole process. Ratios are to the",
        "row that is named beside it.",
        "Written by `python docs/benchmarks/training.py`.",
        "",
        markdown_table(headers, rows, words=2),
        "",
        "`MODEL.COMPILE` is not among them: on this kind of machine compiling alone takes minutes,",
        "longer than the training.",
        "",
    ]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure_all, page, repeats=REPEATS)
