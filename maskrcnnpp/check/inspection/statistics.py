"""Distributions, clusters and choices of an inspected data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans, vq, whiten

QUANTILES = (0.05, 0.5, 0.95)
_BINS = 24
_NARROW = 1.5  # whole numbers in a bin
_MOST_CLUSTERS = 4


def distribution(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """Smallest, largest and mean value, the quantiles, and a histogram.

    Bins are even in the logarithm where positive values differ by more than 20 times and these
    bins are wide enough for whole numbers.
    """
    values = np.asarray(values, dtype=np.float64)
    low, high = values.min(), values.max()
    quantiles = np.quantile(values, QUANTILES)
    logarithmic = bool(low > 0 and high / low > 20)
    if logarithmic and (values == np.rint(values)).all():
        # narrow bins would have one whole number or two by turns, which looks like structure
        logarithmic = bool(quantiles[0] * ((high / low) ** (1 / _BINS) - 1) > _NARROW)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.geomspace(low, high, _BINS + 1) if logarithmic else np.linspace(low, high, _BINS + 1)
    edges[[0, -1]] = low, high  # which geomspace may miss by a rounding
    counts, _ = np.histogram(values, edges)
    return {
        "min": rounded(values.min()),
        **{f"p{round(100 * q)}": rounded(value) for q, value in zip(QUANTILES, quantiles)},
        "max": rounded(values.max()),
        "mean": rounded(values.mean()),
        "histogram": {
            "edges": rounded_all(edges),
            "counts": counts.tolist(),
            "logarithmic": logarithmic,
        },
    }


def cluster(features: np.ndarray, seed: int) -> np.ndarray:
    """Number of the cluster of each row, from 0, by rising first feature.

    The fewest clusters are taken that leave half of the variance that they would leave of values
    spread evenly along a line: 1 / (2 k^2) of all. One cluster where none does.

    Args:
        features: (n, features).
        seed: of k-means.

    Returns:
        int (n,).
    """
    varied = features[:, features.std(axis=0) > 0]
    one = np.zeros(len(features), dtype=np.int64)
    if not varied.size:
        return one
    scaled = whiten(varied)
    total = ((scaled - scaled.mean(axis=0)) ** 2).sum(axis=1).mean()
    for count in range(2, min(_MOST_CLUSTERS, len(features) - 1) + 1):
        centres, _ = kmeans(scaled, count, seed=np.random.default_rng(seed))
        found, distance = vq(scaled, centres)
        if (distance**2).mean() < total / (2 * count**2):
            means = [features[found == number, 0].mean() for number in range(len(centres))]
            return np.argsort(np.argsort(means))[found]
    return one


def choose_samples(images: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """Images of every group, those with few, some and many objects an area.

    Each group has one, as far as there are places, and more in proportion to the root of its
    images, so that rare ones are seen too.
    """
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in images:
        groups[entry["group"]].append(entry)
    order = sorted(groups, key=lambda name: (-len(groups[name]), name))
    places = dict.fromkeys(order[:count], 1)
    for _ in range(min(count, len(images)) - len(places)):
        waiting = [name for name in places if places[name] < len(groups[name])]
        if waiting:
            places[
                max(waiting, key=lambda name: len(groups[name]) ** 0.5 / (places[name] + 1))
            ] += 1
    chosen = []
    for name, number in places.items():
        by_density = sorted(groups[name], key=lambda entry: (entry["density"], entry["file_name"]))
        last = len(by_density) - 1
        steps = np.rint(np.linspace(0, last, number)).astype(int) if number > 1 else [last // 2]
        chosen += [
            {key: by_density[step][key] for key in ("id", "file_name", "group", "objects")}
            for step in steps
        ]
    return chosen


def rounded(value: float) -> float:
    """A value rounded to five digits."""
    # what is reported is no more exact, and differs by no rounding between machines
    return float(f"{float(value):.5g}")


def rounded_all(values: np.ndarray) -> list[float]:
    """Values rounded to five digits."""
    return [rounded(value) for value in values]
