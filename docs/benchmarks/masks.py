#!/usr/bin/env python
"""Measure from RoI masks to COCO results: Detectron2's full-image masks and RLE-native ones.

    python docs/benchmarks/masks.py

writes masks.json and masks.md beside this file. Every measurement is a process of its own. Boxes
and masks are made up: 12 to 40 pixels wide, as nuclei are, masks of 28x28. What comes out is the
same, string for string; where Detectron2's way is run too, that is checked.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances

from maskrcnnpp.benchmark.cost import forget_peak, in_own_process, peak_resident
from maskrcnnpp.benchmark.record import measure_and_draw, origin, page_text, record_files
from maskrcnnpp.benchmark.tables import markdown_table
from maskrcnnpp.evaluation.coco_evaluation import to_coco
from maskrcnnpp.inference import to_rle

RECORD, PAGE = record_files(__file__)
#: Detections, side of the image in pixels, ways.
CASES = (
    (200, 1024, ("Detectron2", "RLE-native")),
    (2000, 2048, ("Detectron2", "RLE-native")),
    (20000, 8192, ("RLE-native",)),
)


def detections(count: int, side: int) -> Instances:
    """What a Mask R-CNN gives before post-processing."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * (side - 40)
    sizes = 12 + 28 * torch.rand(count, 2, generator=generator)
    noise = torch.rand(count, 1, 28, 28, generator=generator)
    rows = torch.linspace(-1, 1, 28)
    disk = (1.2 - rows[:, None].square() - rows.square()).clamp(0, 1)
    return Instances(
        (side, side),
        pred_boxes=Boxes(torch.cat([corners, corners + sizes], dim=1)),
        scores=torch.rand(count, generator=generator),
        pred_classes=torch.zeros(count, dtype=torch.int64),
        pred_masks=(disk + 0.2 * (noise - 0.5)).clamp(0, 1),
    )


def measure(way: str, count: int, side: int) -> dict[str, Any]:
    """Seconds, MiB above what was resident before, and a digest of the results."""
    torch.set_num_threads(1)
    found = detections(count, side)
    forget_peak("cpu")
    before = peak_resident()
    began = time.perf_counter()
    if way == "Detectron2":
        results = instances_to_coco_json(detector_postprocess(found, side, side), 1)
    else:
        results = to_coco(to_rle(found, side, side), 1)
    seconds = time.perf_counter() - began
    masks = [result["segmentation"]["counts"] for result in results]
    return {
        "way": way,
        "detections": count,
        "side": side,
        "seconds": round(seconds, 3),
        "mebibytes": round(peak_resident() - before, 1),
        "digest": hashlib.sha256(json.dumps(masks).encode()).hexdigest()[:16],
    }


def measure_all() -> dict[str, Any]:
    rows = []
    for count, side, ways in CASES:
        for way in ways:
            rows.append(in_own_process(measure, way, count, side))
            print(rows[-1], flush=True)
        digests = {row["digest"] for row in rows if row["side"] == side}
        if len(digests) != 1:
            raise SystemExit(f"error: the ways differ at {count} detections on {side}x{side}")
    return {"rows": rows, **origin()}


def page(found: Mapping[str, Any]) -> str:
    rows = []
    for row in found["rows"]:
        other = [r for r in found["rows"] if r["side"] == row["side"] and r is not row]
        faster = f"{other[0]['seconds'] / row['seconds']:.0f}" if other else ""
        rows.append(
            [
                f"{row['detections']} on {row['side']}x{row['side']}",
                row["way"],
                f"{row['seconds']:.2f}",
                faster if row["way"] == "RLE-native" else "",
                f"{row['mebibytes']:.0f}",
            ]
        )
    headers = ["detections", "masks", "seconds", "times faster", "MiB beyond the detections"]
    lines = [
        "# From RoI masks to COCO results",
        "",
        "Post-processing and encoding of one image's detections, one thread, each in a process of",
        "its own. Where both ways were run their results are the same, string for string. Written",
        "by `python docs/benchmarks/masks.py`.",
        "",
        markdown_table(headers, rows, words=2),
        "",
    ]
    return page_text(lines, found)


if __name__ == "__main__":
    measure_and_draw(__file__, __doc__, measure_all, page)
