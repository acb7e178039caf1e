"""Whether a difference between two arms holds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from maskrcnnpp.benchmark.scoring import Scored

#: Part of the bootstrap distribution that an interval covers.
CONFIDENCE = 0.95
#: Welch's p below which the seeds of two arms differ.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference, one metric."""

    mean: float  #: of the seeds that both have, or of all where they are not paired
    low: float  #: lower end of the bootstrap interval over images and seeds
    high: float
    p_value: float  #: Welch's t-test over seeds, two-sided; nan for fewer than 2 seeds an arm


def resampled_images(images: int, replicates: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn, with replacement, in each replicate: (replicates, images)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), size=replicates)


def replicate(scored: Scored, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The compared metrics of each replicate: one array (replicates,) a metric."""
    rows = [scored.compared(row.astype(float)) for row in weights]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def difference(
    arm: Mapping[int, float],
    reference: Mapping[int, float],
    arm_replicates: Mapping[int, np.ndarray],
    reference_replicates: Mapping[int, np.ndarray],
    *,
    paired: bool = True,
    seed: int = 0,
) -> Difference:
    """Difference of one metric between two arms.

    The bootstrap draws images and seeds with replacement, the same for both arms: how much the
    mean would move with other images of the kind and other runs. A few seeds drawn from themselves
    vary less than new ones would, by (n - 1) / n; their deviations are widened to make up for it.

    Args:
        arm, reference: the metric by seed.
        arm_replicates, reference_replicates: of :func:`replicate`, by seed, with the same images.
        paired: a seed means the same images and order in both arms; False draws them separately.
        seed: of the drawing of seeds.

    Raises:
        ValueError: the arms are paired and share no seed.
    """
    generator = np.random.default_rng(seed)
    if paired:
        shared = sorted(set(arm) & set(reference))
        if not shared:
            raise ValueError("the arms have no seed in common")
        differences = np.stack([arm_replicates[s] - reference_replicates[s] for s in shared])
        mean = float(np.mean([arm[s] - reference[s] for s in shared]))
        means = _drawn_means(differences, generator)
    else:
        mean = float(np.mean(list(arm.values())) - np.mean(list(reference.values())))
        means = _drawn_means(np.stack(list(arm_replicates.values())), generator)
        means = means - _drawn_means(np.stack(list(reference_replicates.values())), generator)
    low = high = float("nan")
    if np.isfinite(means).any():
        tail = 100 * (1 - CONFIDENCE) / 2
        low, high = (float(end) for end in np.nanpercentile(means, [tail, 100 - tail]))
    return Difference(mean, low, high, welch_p(list(arm.values()), list(reference.values())))


def _drawn_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means over seeds drawn with replacement, in each replicate: (seeds, B) to (B,)."""
    seeds = len(values)
    if seeds == 1:
        return values[0]
    draws = generator.integers(seeds, size=values.shape)
    drawn = np.take_along_axis(values, draws, axis=0).mean(axis=0)
    middle = values.mean(axis=0)
    return middle + (drawn - middle) * np.sqrt(seeds / (seeds - 1))


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Welch's t-test, as the UNet++ papers report it; nan for too few values."""
    if min(len(first), len(second)) < 2:
        return float("nan")
    if np.std(first) == 0 and np.std(second) == 0:
        return 1.0 if np.mean(first) == np.mean(second) else 0.0
    return float(stats.ttest_ind(first, second, equal_var=False).pvalue)
