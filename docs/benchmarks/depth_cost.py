#!/usr/bin/env python
"""Measure what stock Mask R-CNN and Mask R-CNN++ at every depth cost, side by side.

    python docs/benchmarks/depth_cost.py

writes depth_cost.json and depth_cost.md beside this file. Weights are random: costs do not depend
on them, as the numbers of proposals and detections are fixed (1000 and 100 an image), and in
training those of RoIs: 512 an image, of which as many are foreground as there may be, 128, because
all that touch an object count as foreground. All arms have the encoder, heads and settings of
configs/dsb2018.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.data.detection_utils import annotations_to_instances

from maskrcnnpp.benchmark.cost import (
    Arm,
    count_parameters,
    load_model,
    measure_latency,
    measure_training,
    peak_memory,
)
from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text, record_files
from maskrcnnpp.benchmark.tables import cost_ratio_table, markdown_table
from maskrcnnpp.engine import build_config
from maskrcnnpp.files import write_text

RECORD, PAGE = record_files(__file__)
ROOT = Path(__file__).resolve().parents[2]
STOCK = "configs/dsb2018/mask_rcnn_R_50_FPN.yaml"
NESTED = "configs/dsb2018/maskrcnnpp_R_50_nested_fpn.yaml"
EMBEDDED = "configs/dsb2018/maskrcnnpp_R_50_embedded.yaml"
SIZES = (256, 512, 1024)
TRAINING_SIZE = 512  # the crops of configs/dsb2018
FIXED = (
    *("MODEL.WEIGHTS", "", "TEST.DETECTIONS_PER_IMAGE", "100", "INPUT.MIN_SIZE_TEST", "0"),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "MODEL.ROI_HEADS.NMS_THRESH_TEST", "1.0"),
    *("MODEL.RPN.NMS_THRESH", "1.0", "MODEL.RPN.POST_NMS_TOPK_TEST", "1000"),
    *("MODEL.ROI_HEADS.IOU_THRESHOLDS", "[0.0001]"),
)

RES2_ROWS = ("MODEL.FPN.IN_FEATURES", "['res2', 'res3', 'res4', 'res5']")
#: From the plain design to the one that is shipped: what changes, and the settings.
LADDER = {
    "256 channels and two convolutions in every node, rows res2..res5": (
        *RES2_ROWS,
        *("MODEL.NESTED_FPN.ROW_CHANNELS", "[256, 256, 256, 256]"),
        *("MODEL.NESTED_FPN.NUM_CONVS", "2"),
    ),
    "one convolution in a node": (
        *RES2_ROWS,
        *("MODEL.NESTED_FPN.ROW_CHANNELS", "[256, 256, 256, 256]"),
    ),
    "rows of 128, 128, 256, 256 channels": (
        *RES2_ROWS,
        *("MODEL.NESTED_FPN.ROW_CHANNELS", "[128, 128, 256, 256]"),
    ),
    "rows of 64, 64, 128, 256 channels": (
        *RES2_ROWS,
        *("MODEL.NESTED_FPN.ROW_CHANNELS", "[64, 64, 128, 256]"),
    ),
    "a row conv1 of 64 channels on top, for masks": (
        *("MODEL.NESTED_FPN.ROW_CHANNELS", "[64, 64, 64, 128, 256]"),
    ),
    "16 channels in that row, as shipped": (),
}
LADDER_SIZE = 512


def arm(folder: Path, name: str, file: str, *opts: str) -> Arm:
    """An arm whose config is written to ``folder``."""
    path = folder / f"{name}.yaml"
    write_text(path, build_config(str(ROOT / file), [*FIXED, *opts]).dump())
    return Arm(name, str(path), "")


def predicting(folder: Path) -> list[Arm]:
    """Stock, then Mask R-CNN++ at depth 1, 2, ..."""
    deepest = len(build_config(str(ROOT / NESTED)).MODEL.FPN.IN_FEATURES) - 1
    depths = range(1, deepest + 1)
    nested = [arm(folder, f"L{d}", NESTED, "MODEL.NESTED_FPN.DEPTH", str(d)) for d in depths]
    return [arm(folder, "stock", STOCK), *nested]


def ladder(folder: Path) -> list[Arm]:
    """Stock, then each design of :data:`LADDER`."""
    rungs = [arm(folder, what, NESTED, *opts) for what, opts in LADDER.items()]
    return [arm(folder, "stock", STOCK), *rungs]


def training(folder: Path) -> list[Arm]:
    """Stock and Mask R-CNN++, with and without what it learns at shallower depths."""
    no_weights = ("MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION.WEIGHTS", "[0.0, 0.0, 0.0]")
    return [
        arm(folder, "stock", STOCK),
        arm(folder, "Mask R-CNN++ without deep supervision", NESTED, *no_weights),
        arm(folder, "Mask R-CNN++", NESTED),
        arm(folder, "Mask R-CNN++, embedded", EMBEDDED),
    ]


def image(size: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(size)
    pixels = torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
    return {"image": pixels, "height": size, "width": size}


def training_image(size: int, objects: int = 40) -> dict[str, Any]:
    """An image with squares for objects, as the training loader hands them on."""
    generator = torch.Generator().manual_seed(size)
    corners = torch.randint(0, size - 24, (objects, 2), generator=generator).tolist()
    annotations = [
        {
            "bbox": [x, y, x + 20, y + 20],
            "bbox_mode": 0,
            "category_id": 0,
            "segmentation": [[x, y, x + 20, y, x + 20, y + 20, x, y + 20]],
        }
        for x, y in corners
    ]
    instances = annotations_to_instances(annotations, (size, size), mask_format="bitmask")
    return {**image(size), "instances": instances}


def measure(repeats: int, training_batches: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        batches = [[training_image(TRAINING_SIZE)]] * training_batches
        arms = training(Path(folder))
        return {
            "depths": measure_predicting(predicting(Path(folder)), SIZES, repeats),
            "ladder": measure_predicting(ladder(Path(folder)), [LADDER_SIZE], repeats),
            "training": measure_training(arms, {arm.name: batches for arm in arms}, warm_up=1),
            "repeats": repeats,
            "training_batches": training_batches,
            **origin(),
        }


def measure_predicting(arms: Sequence[Arm], sizes: Sequence[int], repeats: int) -> dict[str, Any]:
    """``parameters`` by arm, and by image size ``latency`` and ``peak_memory``."""
    models = {arm.name: load_model(build_config(arm.config_file), "") for arm in arms}
    found: dict[str, Any] = {
        "parameters": {name: count_parameters(model)["total"] for name, model in models.items()},
        "sizes": {},
    }
    for size in sizes:
        latency = measure_latency(models, [[image(size)]] * repeats, warm_up=1)
        memory = {arm.name: peak_memory(arm.config_file, "", [[image(size)]]) for arm in arms}
        found["sizes"][str(size)] = {"latency": latency, "peak_memory": memory}
    return found


def page(found: Mapping[str, Any]) -> str:
    stock = found["training"]["stock"][0]
    rows = [[name, f"{s[0]:.2f} ({s[0] / stock:.2f})"] for name, s in found["training"].items()]
    lines = [
        "# What depth costs",
        "",
        "Stock Mask R-CNN and Mask R-CNN++ at every depth, ResNet-50, side by side: median seconds",
        f"of {found['repeats']} images, arms alternating, 1000 proposals and 100 detections an",
        "image; in brackets multiples of stock's. Random weights. L4 is the full depth. Written by",
        "`python docs/benchmarks/depth_cost.py`.",
        "",
        cost_ratio_table(found["depths"]),
        "",
        f"A training iteration of an image of {TRAINING_SIZE}x{TRAINING_SIZE} with 512 RoIs, of",
        f"which 128 are foreground; median of {found['training_batches']}:",
        "",
        markdown_table(["arm", "seconds"], rows, words=2),
        "",
    ]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure, page, repeats=7, training_batches=6)
