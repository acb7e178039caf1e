"""All metrics of predictions, by the same code for all that is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskrcnnpp.evaluation.coco_metrics import coco_average_precision
from maskrcnnpp.evaluation.instance_metrics import (
    ImageCounts,
    best_score_threshold,
    count_images,
    summarize,
)
from maskrcnnpp.evaluation.overlaps import Overlaps, find_overlaps
from maskrcnnpp.evaluation.ranking import Ranking, average_precision, mean_precision_recall, rank

#: Metrics of shown objects, and what tables call them.
SHOWN = {
    "dsb_score": "DSB score",
    "accuracy@0.50": "TP/(TP+FP+FN) at 0.5",
    "accuracy@0.75": "at 0.75",
    "accuracy": "mean 0.5:0.95",
    "f1": "F1",
    "pq": "PQ",
    "sq": "SQ",
    "rq": "RQ",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "dice": "Dice",
    "foreground_iou": "IoU",
    "count_error": "count error",
}
#: Metrics of the pixels of a semantic prediction, and what tables call them.
PIXELS = {
    "IoU": "IoU",
    "Dice": "Dice",
    "IoU_image": "IoU, mean over images",
    "mIoU_thresholds": "mean IoU over thresholds",
}
#: Metrics whose differences get an interval.
COMPARED = ("AP", "dsb_score", "accuracy@0.50", "accuracy", "f1", "pq", "aji", "dice")
#: IoU thresholds whose precision-recall curves are kept, by their index.
CURVES = {"0.50": 0, "0.75": 5}


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions on one data set, scored, with what a bootstrap needs to score them anew."""

    metrics: dict[str, Any]  #: for results.json
    shown: Overlaps  #: of the detections above the score threshold
    counts: ImageCounts
    ranking: Ranking

    def compared(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """The metrics of :data:`COMPARED`, each image counted as often as ``weights`` says."""
        values = {"AP": average_precision(self.ranking, weights)}
        values.update(summarize(self.counts, weights))
        return {name: values[name] for name in COMPARED}


def score_predictions(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    max_dets: int,
    area_bins: Sequence[float],
    score_threshold: float | Callable[[Overlaps], float] = best_score_threshold,
) -> Scored:
    """All metrics of COCO results on a data set.

    Args:
        truth: a COCO dict.
        results: COCO results with masks; boxes are judged too where every result has one.
        max_dets, area_bins: see :func:`maskrcnnpp.evaluation.coco_average_precision`.
        score_threshold: of the metrics of shown objects; or how to tune it, which is for
            validation data only.

    Returns:
        ``metrics`` holds ``segm`` and, with boxes, ``bbox`` (COCO's, in percent), ``shown`` (see
        :func:`maskrcnnpp.evaluation.instance_metrics.summarize`), ``score_threshold``, and
        ``precision_recall``, the curves at :data:`CURVES`, 101 points each.
    """
    overlaps = find_overlaps(truth, results, max_dets)
    threshold = score_threshold(overlaps) if callable(score_threshold) else score_threshold
    counts = count_images(overlaps, threshold)
    ranking = rank(overlaps)
    tasks = ["segm", "bbox"] if all("bbox" in result for result in results) else ["segm"]
    metrics: dict[str, Any] = {
        task: coco_average_precision(truth, results, task, max_dets, tuple(area_bins))
        for task in tasks
    }
    metrics["shown"] = summarize(counts)
    metrics["score_threshold"] = threshold
    metrics["precision_recall"] = _curves(ranking)
    return Scored(metrics, overlaps.above(threshold), counts, ranking)


def _curves(ranking: Ranking) -> dict[str, list[float]]:
    curves = mean_precision_recall(ranking)
    if curves is None:
        return {}
    return {name: np.round(curves[index], 4).tolist() for name, index in CURVES.items()}
