"""Metrics of semantic segmentation, from counts of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Probabilities above which a pixel is predicted to be of a class. The first is the usual one; the
#: mean IoU over all of them is what the reference code of the UNet++ papers reports.
THRESHOLDS = np.round(np.arange(0.5, 1.0, 0.05), 2)


def predicted_masks(probabilities: np.ndarray, *, exclusive: bool = False) -> np.ndarray:
    """Masks of the pixels that are predicted to be of each class.

    Args:
        probabilities: (classes, ...), 0..1.
        exclusive: each pixel has one class, the likeliest; else all above the first threshold.

    Returns:
        bool, of the same shape.
    """
    if not exclusive:
        return probabilities > THRESHOLDS[0]
    classes = np.arange(len(probabilities)).reshape(-1, *[1] * (probabilities.ndim - 1))
    return probabilities.argmax(axis=0) == classes


def count_pixels(
    probabilities: np.ndarray, truth: np.ndarray, is_counted: np.ndarray, *, exclusive: bool = False
) -> np.ndarray:
    """Confusion of one image.

    Args:
        probabilities: (classes, H, W), 0..1.
        truth: bool, of the same shape.
        is_counted: bool (H, W).
        exclusive: each pixel has one class; at the first threshold it is the likeliest one.

    Returns:
        int64 (classes, thresholds, 4): true positives, false positives, false negatives, true
        negatives.
    """
    values, wanted = probabilities[:, is_counted], truth[:, is_counted]
    total, positives = wanted.shape[1], wanted.sum(axis=1)
    counts = np.zeros((len(values), len(THRESHOLDS), 4), np.int64)
    for index, threshold in enumerate(THRESHOLDS):
        shown = values > threshold
        if index == 0:
            shown = predicted_masks(values, exclusive=exclusive)
        hits, all_shown = (shown & wanted).sum(axis=1), shown.sum(axis=1)
        misses, extra = positives - hits, all_shown - hits
        counts[:, index] = np.stack([hits, extra, misses, total - hits - extra - misses], axis=1)
    return counts


def semantic_metrics(counts: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Metrics of a data set, in percent; nan where there is nothing to judge.

    Args:
        counts: of :func:`count_pixels`, image by image: (images, classes, thresholds, 4).
        names: of the classes.

    Returns:
        ``IoU`` and ``Dice``: of the pixels of all images together, mean over classes;
        ``IoU_image``: mean over the images that have the class or are predicted to;
        ``mIoU_thresholds``: mean over :data:`THRESHOLDS` of the mean IoU of a class and of all
        that it is not; and ``IoU-{name}``, ``Dice-{name}`` of each class.
    """
    pooled = counts.sum(axis=0)
    hits, extra, misses = (pooled[:, 0, k] for k in range(3))
    iou = _divide(hits, hits + extra + misses)
    dice = _divide(2 * hits, 2 * hits + extra + misses)
    wrong = pooled[..., 1] + pooled[..., 2]
    both = [_divide(pooled[..., k], pooled[..., k] + wrong) for k in (0, 3)]
    at = counts[:, :, 0]
    of_images = _divide(at[..., 0], at[..., :3].sum(axis=-1))
    found = {
        "IoU": _mean(iou),
        "Dice": _mean(dice),
        "IoU_image": _mean([_mean(column) for column in of_images.T]),
        "mIoU_thresholds": _mean([_mean(pair) for pair in np.stack(both, axis=-1).reshape(-1, 2)]),
    }
    for name, of_iou, of_dice in zip(names, iou, dice):
        found |= {f"IoU-{name}": float(of_iou), f"Dice-{name}": float(of_dice)}
    return {name: 100 * value for name, value in found.items()}


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    result = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the values that are numbers; nan if there are none."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
