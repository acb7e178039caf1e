"""Metrics of the objects that a model shows: those above a score threshold.

Three numbers are called AP in the field. COCO's, over the ranking of all detections, is in
``coco_metrics``. Here are the two others, under names that tell them apart: TP/(TP+FP+FN) at one
IoU, "accuracy" as StarDist calls it, and the DSB score, its mean over IoUs and then over images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pycocotools.mask as mask_util

from maskrcnnpp.evaluation.matching import IOU_THRESHOLDS, match, match_most_iou
from maskrcnnpp.evaluation.overlaps import Overlaps

#: Where the metrics of one IoU, such as F1 and PQ, are taken.
MATCH_IOU = 0.5
_AT_MATCH_IOU = int(np.argmin(abs(IOU_THRESHOLDS - MATCH_IOU)))


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Values for each image, from which the metrics are computed. All arrays have I rows."""

    truths: np.ndarray  #: objects to find
    predictions: np.ndarray  #: objects predicted
    true_positives: np.ndarray  #: (I, 10), matched pairs at each of IOU_THRESHOLDS
    matched_iou: np.ndarray  #: sum of IoU of the pairs matched at MATCH_IOU
    aji: np.ndarray  #: aggregated Jaccard index (Kumar et al. 2017)
    aji_plus: np.ndarray  #: the same with one-to-one matching (Graham et al. 2019)
    dice: np.ndarray  #: of all objects together, the foreground
    foreground_iou: np.ndarray

    def __len__(self) -> int:
        return len(self.truths)

    def dsb_scores(self) -> np.ndarray:
        """DSB score of each image, (I,), 0..1; 1 where nothing is to be found and nothing is."""
        return _dsb_scores(self.truths, self.predictions, self.true_positives)


def count_images(overlaps: Overlaps, score_threshold: float) -> ImageCounts:
    """Match the detections of that score or more, and count.

    An image without truths and without predictions has the AJI, Dice and IoU 1: nothing is wrong.
    """
    shown = overlaps.above(score_threshold)
    at_iou = [match(shown, threshold) for threshold in IOU_THRESHOLDS]
    truths, predictions, true_positives = _object_counts(shown, at_iou)
    dice, foreground_iou = _foreground(shown)
    image_of_pair = shown.truth_image[shown.pair_truth]
    pairs = at_iou[_AT_MATCH_IOU]
    return ImageCounts(
        truths=truths,
        predictions=predictions,
        true_positives=true_positives,
        matched_iou=np.bincount(
            image_of_pair[pairs], shown.iou[pairs], minlength=len(shown.image_ids)
        ),
        aji=_aggregated_jaccard(shown, _best_of_each_truth(shown)),
        aji_plus=_aggregated_jaccard(shown, match_most_iou(shown)),
        dice=dice,
        foreground_iou=foreground_iou,
    )


def summarize(counts: ImageCounts, weights: np.ndarray | None = None) -> dict[str, float]:
    """Metrics of a data set.

    accuracy, F1, PQ, SQ and RQ come from sums over all images, as StarDist's and the panoptic
    papers' do; the DSB score, AJI, AJI+, Dice and IoU are means over images.

    Args:
        weights: how often each image counts, shape (I,); default once. For the bootstrap.

    Returns:
        In 0..1: ``accuracy@0.50``, ..., ``accuracy`` (their mean), ``dsb_score``, ``f1``, ``pq``,
        ``sq``, ``rq`` (the three at IoU 0.5), ``aji``, ``aji_plus``, ``dice``, ``foreground_iou``;
        and ``count_error``, the mean over images of the difference of the number of objects,
        whatever its sign. nan where there is nothing to divide by.
    """
    weights = np.ones(len(counts)) if weights is None else np.asarray(weights, dtype=float)
    true_positives = weights @ counts.true_positives
    objects = weights @ (counts.truths + counts.predictions)
    accuracy = _divide(true_positives, objects - true_positives)
    f1 = _divide(2 * true_positives[_AT_MATCH_IOU], objects)
    means = {
        "dsb_score": counts.dsb_scores(),
        "aji": counts.aji,
        "aji_plus": counts.aji_plus,
        "dice": counts.dice,
        "foreground_iou": counts.foreground_iou,
        "count_error": abs(counts.predictions - counts.truths),
    }
    matched_iou = weights @ counts.matched_iou
    return {
        **{f"accuracy@{iou:.2f}": float(a) for iou, a in zip(IOU_THRESHOLDS, accuracy)},
        "accuracy": float(accuracy.mean()),
        "f1": float(f1),
        "pq": float(_divide(2 * matched_iou, objects)),
        "sq": float(_divide(matched_iou, true_positives[_AT_MATCH_IOU])),
        "rq": float(f1),
        **{name: float(_divide(weights @ values, weights.sum())) for name, values in means.items()},
    }


def best_score_threshold(overlaps: Overlaps) -> float:
    """The score threshold with the best DSB score. Tune it on validation images, never on test.

    Returns:
        One of 0.05, 0.10, ..., 0.95; the lowest where several are equal.
    """
    candidates = np.round(np.arange(1, 20) * 0.05, 2)
    scores = []
    for threshold in candidates:
        shown = overlaps.above(threshold)
        pairs = [match(shown, iou) for iou in IOU_THRESHOLDS]
        scores.append(_dsb_scores(*_object_counts(shown, pairs)).mean())
    return float(candidates[int(np.argmax(scores))])


def _object_counts(
    shown: Overlaps, at_iou: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By image: truths, predictions, and the matched pairs of each matching, shape (I, 10)."""
    images = len(shown.image_ids)
    image_of_pair = shown.truth_image[shown.pair_truth]
    matched = [np.bincount(image_of_pair[pairs], minlength=images) for pairs in at_iou]
    truths = np.bincount(shown.truth_image, minlength=images)
    predictions = np.bincount(shown.detection_image, minlength=images)
    return truths, predictions, np.stack(matched, axis=1)


def _dsb_scores(
    truths: np.ndarray, predictions: np.ndarray, true_positives: np.ndarray
) -> np.ndarray:
    either = (truths + predictions)[:, None] - true_positives
    return np.where(either > 0, true_positives / np.maximum(either, 1), 1.0).mean(axis=1)


def _aggregated_jaccard(shown: Overlaps, pairs: np.ndarray) -> np.ndarray:
    """AJI of each image from the pairs chosen for it: all else is missed or too much."""
    images = len(shown.image_ids)
    image_of_pair = shown.truth_image[shown.pair_truth[pairs]]
    shared = np.bincount(image_of_pair, shown.intersection[pairs], minlength=images)
    covered = np.bincount(image_of_pair, shown.union[pairs], minlength=images)
    for image, area, used in (
        (shown.truth_image, shown.truth_area, shown.pair_truth[pairs]),
        (shown.detection_image, shown.detection_area, shown.pair_detection[pairs]),
    ):
        left = np.ones(len(area), dtype=bool)
        left[used] = False
        covered = covered + np.bincount(image[left], area[left], minlength=images)
    return np.where(covered > 0, shared / np.maximum(covered, 1), 1.0)


def _best_of_each_truth(shown: Overlaps) -> np.ndarray:
    """For each truth the pair of largest IoU; one detection can serve several truths."""
    order = np.lexsort((-shown.iou, shown.pair_truth))
    _, first = np.unique(shown.pair_truth[order], return_index=True)
    return np.sort(order[first])


def _foreground(shown: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Dice and IoU of each image's foreground."""
    images = range(len(shown.image_ids))
    truths = _by_image(shown.truth_image, shown.truth_masks, len(images))
    predictions = _by_image(shown.detection_image, shown.detection_masks, len(images))
    dice, iou = np.ones(len(images)), np.ones(len(images))
    for image in images:
        pair = [mask_util.merge(masks) for masks in (truths[image], predictions[image]) if masks]
        if not pair:
            continue
        union = int(mask_util.area(mask_util.merge(pair)))
        areas = sum(int(mask_util.area(mask)) for mask in pair)
        shared = areas - union if len(pair) == 2 else 0
        dice[image] = 2 * shared / areas if areas else 1.0
        iou[image] = shared / union if union else 1.0
    return dice, iou


def _by_image(image: np.ndarray, masks: list, images: int) -> list[list]:
    groups: list[list] = [[] for _ in range(images)]
    for index, mask in zip(image, masks):
        groups[index].append(mask)
    return groups


def _divide(numerator: np.ndarray | float, denominator: np.ndarray | float) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
