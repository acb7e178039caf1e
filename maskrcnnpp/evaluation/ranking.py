"""COCO's average precision from overlaps, for any weights of the images.

:mod:`maskrcnnpp.evaluation.coco_metrics` gives the AP that is reported, by faster-coco-eval. This
gives the same number (a test holds them together) from a matching that is done once, so that a
bootstrap can weigh the images anew a thousand times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskrcnnpp.evaluation.matching import IOU_THRESHOLDS
from maskrcnnpp.evaluation.overlaps import Overlaps

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Detections of all images and categories, best score first, and whether each is right."""

    image: np.ndarray  #: int64 (D,)
    category: np.ndarray  #: int64 (D,)
    is_match: np.ndarray  #: bool (D, 10), at each of IOU_THRESHOLDS
    truths: np.ndarray  #: int64 (I, C), objects of each image and category


def rank(overlaps: Overlaps) -> Ranking:
    """Match as COCO does: best score first, each detection takes the best truth that is left."""
    is_match = _greedy_matches(overlaps)
    truths = np.zeros((len(overlaps.image_ids), len(overlaps.category_ids)), dtype=np.int64)
    np.add.at(truths, (overlaps.truth_image, overlaps.truth_category), 1)
    order = np.argsort(-overlaps.score, kind="stable")
    return Ranking(
        image=overlaps.detection_image[order],
        category=overlaps.detection_category[order],
        is_match=is_match[order],
        truths=truths,
    )


def precision_recall(
    ranking: Ranking, category: int, weights: np.ndarray | None = None
) -> np.ndarray | None:
    """Interpolated precision of one category at :data:`RECALLS`, shape (10, 101), 0..1.

    Args:
        weights: how often each image counts, shape (I,); default once.

    Returns:
        None where the weighted images have no truth of the category.
    """
    weights = np.ones(len(ranking.truths)) if weights is None else weights
    truths = weights @ ranking.truths[:, category]
    if truths == 0:
        return None
    of_category = ranking.category == category
    weight = weights[ranking.image[of_category]]
    matched = ranking.is_match[of_category] * weight[:, None]
    found = np.cumsum(matched, axis=0)
    shown = np.cumsum(weight)[:, None]
    recall = found / truths
    precision = found / np.maximum(shown, np.finfo(float).tiny)
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    curves = np.zeros((len(IOU_THRESHOLDS), len(RECALLS)))
    for index in range(len(IOU_THRESHOLDS)):
        at = np.searchsorted(recall[:, index], RECALLS, side="left")
        reached = at < len(recall)
        curves[index, reached] = precision[at[reached], index]
    return curves


def mean_precision_recall(ranking: Ranking, weights: np.ndarray | None = None) -> np.ndarray | None:
    """:func:`precision_recall`, the mean over the categories that have truths."""
    curves = [
        curve
        for category in range(ranking.truths.shape[1])
        if (curve := precision_recall(ranking, category, weights)) is not None
    ]
    return np.mean(curves, axis=0) if curves else None


def average_precision(ranking: Ranking, weights: np.ndarray | None = None) -> float:
    """COCO's AP over IoU 0.50:0.95 in 0..100; nan where there is no truth."""
    curves = mean_precision_recall(ranking, weights)
    return float("nan") if curves is None else 100 * float(curves.mean())


def _greedy_matches(overlaps: Overlaps) -> np.ndarray:
    is_match = np.zeros((len(overlaps.score), len(IOU_THRESHOLDS)), dtype=bool)
    is_taken = np.zeros((len(overlaps.truth_area), len(IOU_THRESHOLDS)), dtype=bool)
    near = np.flatnonzero(overlaps.iou >= IOU_THRESHOLDS[0])
    # detections of one image and category are numbered best score first
    order = near[np.lexsort((near, overlaps.pair_detection[near]))]
    detections, first = np.unique(overlaps.pair_detection[order], return_index=True)
    for detection, pairs in zip(detections, np.split(order, first[1:])):
        truths, iou = overlaps.pair_truth[pairs], overlaps.iou[pairs]
        is_free = ~is_taken[truths] & (iou[:, None] >= IOU_THRESHOLDS)
        for threshold in np.flatnonzero(is_free.any(axis=0)):
            best = np.argmax(np.where(is_free[:, threshold], iou, -1))
            is_match[detection, threshold] = True
            is_taken[truths[best], threshold] = True
    return is_match
