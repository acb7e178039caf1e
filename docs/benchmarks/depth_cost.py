#!/usr/bin/env python
"""Measure what predicting costs stock Mask R-CNN and Mask R-CNN++ at every depth, part by part.

    python docs/benchmarks/depth_cost.py

writes depth_cost.json and depth_cost.md beside this file. Weights are random: costs do not depend
on them, as the numbers of proposals and detections are fixed. The arms are those of configs/cpu,
and for comparison those of configs/quick; one thread.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskrcnnpp.benchmark.cost import (
    STAGES,
    Arm,
    count_parameters,
    load_model,
    measure_latency,
    peak_memory,
)
from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.engine import build_config
from maskrcnnpp.exporting import Session, export_model
from maskrcnnpp.files import write_text

RECORD, PAGE = record_files(__file__)
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STOCK = "cpu/mask_rcnn_lite0_FPN.yaml"
NESTED = "cpu/maskrcnnpp_lite0_nested_fpn.yaml"
#: What is compared: name, config, depth.
ARMS = (
    ("stock, ResNet-18", "quick/mask_rcnn_R_18_FPN.yaml", 0),
    ("Mask R-CNN++, ResNet-18", "quick/maskrcnnpp_R_18_nested_fpn.yaml", 0),
    ("stock", STOCK, 0),
    *(
        (f"stock, stages of L{depth}", f"benchmark/lite0/mask_rcnn_L{depth}.yaml", 0)
        for depth in (1, 2, 3)
    ),
    ("fast", "cpu/maskrcnnpp_lite0_fast.yaml", 0),
    ("fast, stages of L1", "benchmark/lite0/fast_L1.yaml", 0),
    *((f"L{depth}", NESTED, depth) for depth in (1, 2, 3, 4)),
    ("L4, U-Net's connections", "benchmark/lite0/plain.yaml", 0),
    ("L4, UNet+'s connections", "benchmark/lite0/unetplus.yaml", 0),
    ("L4, dense finest row", "benchmark/lite0/dense.yaml", 0),
    ("L4, separable nodes", "benchmark/lite0/separable.yaml", 0),
)
SIZE, DETECTIONS = 1024, 130
FIXED = (
    *("MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "TEST.DETECTIONS_PER_IMAGE", str(DETECTIONS)),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "1.0"),
    *("MODEL.RPN.NMS_THRESH", "1.0"),
)


def arms(folder: Path) -> list[Arm]:
    """Those of :data:`ARMS`; their configs are written to ``folder``."""
    found = []
    for name, file, depth in ARMS:
        path = folder / f"{name}.yaml"
        opts = [*FIXED, "MODEL.NESTED_FPN.DEPTH", str(depth)]
        write_text(path, build_config(str(CONFIGS / file), opts).dump())
        found.append(Arm(name, str(path), ""))
    return found


def measure_exported(
    models: Mapping[str, torch.nn.Module],
    configs: Mapping[str, str],
    images: np.ndarray,
    repeats: int,
) -> dict[str, float]:
    """Median CPU-seconds of one thread of each model as an ONNX file, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for name, model in models.items():
            weights, file = Path(folder, "weights.pth"), Path(folder, f"{len(sessions)}.onnx")
            torch.save({"model": model.state_dict()}, weights)
            cfg = build_config(configs[name])
            sessions[name] = Session(export_model(cfg, weights, file), threads=1)
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(repeats + 1):  # the first one warms up
            for name, session in sessions.items():
                start = time.process_time()
                session(images)
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def measure(repeats: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    batch = [{"image": pixels, "height": SIZE, "width": SIZE}]
    with tempfile.TemporaryDirectory() as folder:
        compared = arms(Path(folder))
        memory = {arm.name: peak_memory(arm.config_file, "", [batch]) for arm in compared}
        models = {arm.name: load_model(build_config(arm.config_file), "") for arm in compared}
        configs = {arm.name: arm.config_file for arm in compared}
        exported = measure_exported(models, configs, pixels[None].float().numpy(), repeats)
    return {
        "parameters": {name: count_parameters(model)["total"] for name, model in models.items()},
        "peak_memory": memory,
        "latency": measure_latency(models, [batch] * repeats, warm_up=1, clock=time.process_time),
        "exported": exported,
        "repeats": repeats,
        **origin("onnxruntime"),
    }


def page(found: Mapping[str, Any]) -> str:
    stages = [stage for stage in STAGES if stage != "segmentation head"]
    rows = []
    for name, seconds in found["latency"].items():
        whole = seconds["total"][0]
        rows.append(
            [
                name,
                *(f"{seconds[stage][0]:.2f}" for stage in stages),
                f"{whole:.2f} ({whole / found['latency']['stock']['total'][0]:.2f})",
                f"{found['exported'][name]:.2f} "
                f"({found['exported'][name] / found['exported']['stock']:.2f})",
                f"{found['peak_memory'][name]:.0f}",
                f"{found['parameters'][name] / 1e6:.2f}",
            ]
        )
    lines = [
        "# What depth costs",
        "",
        f"Prediction of an image of {SIZE}x{SIZE} with {DETECTIONS} objects: median CPU-seconds of",
        f"one thread, {found['repeats']} images, arms alternating; in brackets multiples of stock.",
        "`L1` to `L4` are Mask R-CNN++ of configs/cpu at each depth, and `stock` is its stock arm:",
        "EfficientNet-Lite0. The arms with ResNet-18 are those of configs/quick. Random weights.",
        "Written by `python docs/benchmarks/depth_cost.py`.",
        "",
        markdown_table(["arm", *stages, "end to end", "ONNX", "memory, MiB", "M parameters"], rows),
        "",
        "The pyramid is the grid with its outputs, or FPN. ONNX is the same end to end, exported",
        "and run by ONNX Runtime. Memory is the peak of a process of its own, PyTorch included.",
        "Stock at the stages of a depth has that part of the encoder, and max-pooled levels above.",
        "`fast` is stock at the stages of L2, whose masks set the boxes and change the scores.",
        "",
    ]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure, page, repeats=7)
