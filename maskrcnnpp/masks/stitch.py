"""One number for what is one object in planes that lie above or after each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from maskrcnnpp.errors import ConfigError, DataError


def stitch_planes(planes: Iterable[np.ndarray], threshold: float) -> Iterator[np.ndarray]:
    """Number the labels of a stack so that an object has one number in all its planes.

    Each plane is compared with the one before: labels whose intersection over union is at least
    ``threshold`` are one object, those that overlap most first, and each with one other at most.
    All other labels get numbers of their own. It is no 3-D model. Only one plane is kept.

    Args:
        planes: label images of one size (height, width), integers; 0 is background.
        threshold: above 0 and up to 1, such as 0.3.

    Yields:
        the planes with their new labels, int64 (height, width), from 1.

    Raises:
        ConfigError: the threshold is impossible.
        DataError: planes differ in size, or are no label images.
    """
    stitcher = Stitcher(threshold)
    for labels in planes:
        if labels.ndim != 2 or labels.dtype.kind not in "ui" or labels.min(initial=0) < 0:
            raise DataError(
                f"a plane of {'x'.join(map(str, labels.shape))} {labels.dtype} is not a label "
                "image, which is height x width, and 0 or more"
            )
        values, dense = np.unique(labels, return_inverse=True)
        dense = dense.reshape(labels.shape) + (0 if 0 in values else 1)
        numbers = stitcher.numbers(dense, np.count_nonzero(values))
        yield np.concatenate([[0], numbers])[dense]


class Stitcher:
    """Numbers for the objects of planes that come one after another."""

    def __init__(self, threshold: float | None) -> None:
        """
        Args:
            threshold: see :func:`stitch_planes`; None stitches nothing.

        Raises:
            ConfigError: it is impossible.
        """
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(
                f"--stitch is {threshold}; it is an intersection over union, above 0 and up to 1, "
                "such as 0.3"
            )
        self._threshold = threshold
        self._count = 0
        self._before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def restart(self) -> None:
        """The next plane is no neighbour of the one before: nothing of it is stitched."""
        self._before = None

    def numbers(
        self, labels: np.ndarray, count: int, kinds: np.ndarray | None = None
    ) -> np.ndarray:
        """The numbers of the objects of the next plane.

        Args:
            labels: integers (height, width); 0 is background, n the n-th object.
            count: how many objects there are, also those without a pixel.
            kinds: integers (count,), the class of each: objects of two classes are not stitched.

        Returns:
            int64 (count,), each from 1 and different from the others.

        Raises:
            DataError: the plane has another size than the one before.
        """
        kinds = np.zeros(count, np.int64) if kinds is None else kinds
        numbers = np.zeros(count, np.int64)
        if self._threshold is not None and self._before is not None:
            before, names, former = self._before
            if before.shape != labels.shape:
                raise DataError(
                    f"a plane of {labels.shape[1]}x{labels.shape[0]} pixels follows one of "
                    f"{before.shape[1]}x{before.shape[0]}: planes of a stack have one size"
                )
            for first, second in _matches(before, labels, self._threshold, former, kinds):
                numbers[second] = names[first]
        new = numbers == 0
        numbers[new] = self._count + 1 + np.arange(np.count_nonzero(new))
        self._count += np.count_nonzero(new)
        if self._threshold is not None:
            self._before = labels, numbers, kinds
        return numbers


def _matches(
    before: np.ndarray, now: np.ndarray, threshold: float, former: np.ndarray, kinds: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Indices, from 0, of objects that are one: the largest intersection over union first."""
    both = (before > 0) & (now > 0)
    keys = (before[both].astype(np.int64) - 1) * len(kinds) + now[both] - 1
    pairs, shared = np.unique(keys, return_counts=True)
    first, second = np.divmod(pairs, max(len(kinds), 1))
    areas = [np.bincount(labels.ravel())[1:] for labels in (before, now)]
    ious = shared / (areas[0][first] + areas[1][second] - shared)
    taken: tuple[set[int], set[int]] = set(), set()
    for index in np.lexsort((second, first, -ious)):
        one, other = int(first[index]), int(second[index])
        if ious[index] < threshold or one in taken[0] or other in taken[1]:
            continue
        if former[one] == kinds[other]:
            taken[0].add(one)
            taken[1].add(other)
            yield one, other
