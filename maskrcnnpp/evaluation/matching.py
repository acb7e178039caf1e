"""One-to-one matching of detections and truths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from maskrcnnpp.evaluation.overlaps import Overlaps

#: IoU thresholds of COCO's AP and of the DSB score.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


def match(overlaps: Overlaps, iou_threshold: float) -> np.ndarray:
    """Pairs of a matching with most pairs of that IoU or more, and among these most IoU.

    The criterion of StarDist's ``matching``. Ties of the whole sum are resolved by chance of order.

    Args:
        iou_threshold: above 0, up to 1.

    Returns:
        Indices of the matched pairs, int64, ascending.
    """
    candidates = np.flatnonzero(overlaps.iou >= iou_threshold)
    # one pair more outweighs all that IoU can add to n pairs
    return _assign(overlaps, candidates, lambda iou, n: 1 + iou / (2 * n))


def match_most_iou(overlaps: Overlaps) -> np.ndarray:
    """Pairs of the matching whose sum of IoU is largest, however small each is (for AJI+).

    Returns:
        Indices of the matched pairs, int64, ascending.
    """
    return _assign(overlaps, np.arange(len(overlaps.iou)), lambda iou, n: iou)


def _assign(
    overlaps: Overlaps, candidates: np.ndarray, gain_of: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Matching of the candidate pairs with the largest sum of ``gain_of(iou, n)``.

    n is the most pairs that the matching of a group can have.
    """
    # Objects are disjoint, or nearly: almost every group of overlapping objects is one pair. Only
    # the groups left are small assignment problems.
    detection = overlaps.pair_detection[candidates]
    truth = overlaps.pair_truth[candidates]
    lone = (np.bincount(detection)[detection] == 1) if len(detection) else np.zeros(0, bool)
    lone &= (np.bincount(truth)[truth] == 1) if len(truth) else np.zeros(0, bool)
    matched = [candidates[lone]]
    rest = np.flatnonzero(~lone)
    for group in _groups(detection[rest], truth[rest]):
        pairs = rest[group]
        rows, row = np.unique(detection[pairs], return_inverse=True)
        columns, column = np.unique(truth[pairs], return_inverse=True)
        gain = np.zeros((len(rows), len(columns)))
        gain[row, column] = gain_of(overlaps.iou[candidates[pairs]], min(gain.shape))
        number = np.full(gain.shape, -1)
        number[row, column] = candidates[pairs]
        chosen = number[linear_sum_assignment(gain, maximize=True)]
        matched.append(chosen[chosen >= 0])
    return np.sort(np.concatenate(matched))


def _groups(detection: np.ndarray, truth: np.ndarray) -> list[np.ndarray]:
    """Indices of the pairs of each connected group."""
    if not len(detection):
        return []
    detections = detection.max() + 1
    nodes = detections + truth.max() + 1
    graph = coo_array(
        (np.ones(len(detection), dtype=np.int8), (detection, truth + detections)),
        shape=(nodes, nodes),
    )
    _, label = connected_components(graph, directed=False)
    label = label[detection]
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
