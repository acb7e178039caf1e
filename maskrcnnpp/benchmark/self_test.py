"""Is the scoring right, and fast enough? Checked on the machine at hand."""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnnpp.benchmark.scoring import score_predictions
from maskrcnnpp.evaluation.ranking import average_precision

TOLERANCE = 1e-9
_SIDE = 512


def self_test(images: int = 200, truths: int = 10_000, detections: int = 20_000) -> dict[str, Any]:
    """Score made-up predictions by every metric, and COCO's again by pycocotools.

    Returns:
        ``images``, ``truths``, ``detections``; ``seconds`` for all metrics and
        ``pycocotools_seconds`` for its AP alone; by metric ``differences`` from pycocotools in
        percent points; ``passed``, whether all are within 1e-9.
    """
    truth, results = made_up(images, truths, detections)
    max_dets, area_bins = detections, (160, 470)
    began = time.perf_counter()
    scored = score_predictions(truth, results, max_dets=max_dets, area_bins=area_bins)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    theirs = _pycocotools(truth, results, max_dets, area_bins)
    pycocotools_seconds = time.perf_counter() - began
    ours = {**scored.metrics["segm"], "AP (bootstrap)": average_precision(scored.ranking)}
    theirs["AP (bootstrap)"] = theirs["AP"]
    differences = {name: abs(ours[name] - value) for name, value in theirs.items()}
    return {
        "images": images,
        "truths": len(truth["annotations"]),
        "detections": len(results),
        "seconds": seconds,
        "pycocotools_seconds": pycocotools_seconds,
        "differences": differences,
        "passed": all(difference <= TOLERANCE for difference in differences.values()),
    }


def made_up(
    images: int, truths: int, detections: int, seed: int = 0
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ellipses of the size of nuclei, and predictions: about half of them near an ellipse."""
    generator = np.random.default_rng(seed)
    ellipses = [
        (image, *generator.uniform(10, _SIDE - 10, 2), *generator.uniform(4, 18, 2))
        for image in generator.integers(0, images, truths)
    ]
    found = []
    for index in range(detections):
        image, x, y, a, b = ellipses[index % truths]
        if index >= truths:  # a second prediction is somewhere else
            x, y = generator.uniform(10, _SIDE - 10, 2)
        shift = generator.normal(0, 1.5, 4)
        found.append((image, x + shift[0], y + shift[1], *(np.abs([a, b] + shift[2:]) + 1)))
    annotations = [
        {**_entry(*ellipse), "id": number, "iscrowd": 0}
        for number, ellipse in enumerate(ellipses, start=1)
    ]
    scores = generator.random(detections)
    results = [{**_entry(*e), "score": float(score)} for e, score in zip(found, scores)]
    truth = {
        "images": [{"id": k, "height": _SIDE, "width": _SIDE} for k in range(images)],
        "categories": [{"id": 1, "name": "nucleus"}],
        "annotations": annotations,
    }
    return truth, results


def _entry(image: int, x: float, y: float, a: float, b: float) -> dict[str, Any]:
    canvas = np.zeros((_SIDE, _SIDE), dtype=np.uint8, order="F")
    plane = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    cv2.ellipse(plane, (round(x), round(y)), (round(a), round(b)), 0, 0, 360, 1, -1)
    canvas[:] = plane
    mask = mask_util.encode(canvas)
    return {
        "image_id": int(image),
        "category_id": 1,
        "segmentation": mask,
        "bbox": mask_util.toBbox(mask).tolist(),
        "area": float(mask_util.area(mask)),
    }


def _pycocotools(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    max_dets: int,
    area_bins: tuple[float, float],
) -> dict[str, float]:
    small, medium = area_bins
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(dict(truth))
        coco.createIndex()
        found = COCO()
        found.dataset = {
            **{key: truth[key] for key in ("images", "categories")},
            "annotations": [{**r, "id": n, "iscrowd": 0} for n, r in enumerate(results, start=1)],
        }
        found.createIndex()
        run = COCOeval(coco, found, "segm")
        run.params.maxDets = [max_dets]
        run.params.areaRng = [[0, 1e10], [0, small], [small, medium], [medium, 1e10]]
        run.evaluate()
        run.accumulate()
    precision, recall = run.eval["precision"], run.eval["recall"]

    def mean(values: np.ndarray) -> float:
        return 100 * float(values[values > -1].mean())

    return {
        "AP": mean(precision[:, :, :, 0]),
        "AP50": mean(precision[0, :, :, 0]),
        "AP75": mean(precision[5, :, :, 0]),
        **{name: mean(precision[:, :, :, k]) for k, name in ((1, "APs"), (2, "APm"), (3, "APl"))},
        "AR": mean(recall[:, :, 0]),
    }
