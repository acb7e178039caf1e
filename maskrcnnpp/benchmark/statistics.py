"""Whether a difference between two arms holds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from maskrcnnpp.benchmark.scoring import Scored

#: Part of the bootstrap distribution that an interval covers.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference, one metric."""

    mean: float  #: over seeds that both have
    low: float  #: lower end of the 95 % bootstrap interval over images and seeds
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
    seed: int = 0,
) -> Difference:
    """Paired difference of one metric.

    The bootstrap draws images and seeds with replacement, the same for both arms: how much the
    mean would move with other images of the kind and other runs.

    Args:
        arm, reference: the metric by seed.
        arm_replicates, reference_replicates: of :func:`replicate`, by seed, with the same images.
        seed: of the drawing of seeds.

    Raises:
        ValueError: the arms share no seed.
    """
    shared = sorted(set(arm) & set(reference))
    if not shared:
        raise ValueError("the arms have no seed in common")
    paired = np.stack([arm_replicates[s] - reference_replicates[s] for s in shared])
    draws = np.random.default_rng(seed).integers(len(shared), size=(len(shared), paired.shape[1]))
    means = np.take_along_axis(paired, draws, axis=0).mean(axis=0)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = (
        np.nanpercentile(means, [tail, 100 - tail])
        if np.isfinite(means).any()
        else (
            float("nan"),
            float("nan"),
        )
    )
    return Difference(
        mean=float(np.mean([arm[s] - reference[s] for s in shared])),
        low=float(low),
        high=float(high),
        p_value=welch_p(list(arm.values()), list(reference.values())),
    )


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Welch's t-test, as the UNet++ papers report it; nan for too few values."""
    if min(len(first), len(second)) < 2:
        return float("nan")
    if np.std(first) == 0 and np.std(second) == 0:
        return 1.0 if np.mean(first) == np.mean(second) else 0.0
    return float(stats.ttest_ind(first, second, equal_var=False).pvalue)
