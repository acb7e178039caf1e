"""Images, objects of this project and independent masks, for the tests of outline readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dsb2018_source import png
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy import ndimage

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.images import ArrayRaster
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers.info import Info

HEIGHT, WIDTH = 30, 40
PIXELS = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH), dtype=np.uint8)
IMAGE = png(PIXELS)


def read(reader: type, source: Path, workers: int = 0, **options):
    """Samples by name, and the problems of a run that leaves out what is bad."""
    problems = ProblemLog(skip_bad=True)
    samples = list(reader(source, problems, **options).read(workers=workers))
    return {sample.name: sample for sample in samples}, problems


def masks(sample) -> list[np.ndarray]:
    return [coco_mask.decode(rle).astype(bool) for rle in sample.masks]


def box_mask(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def square(left, top, right, bottom) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def written(writer, path: Path, pixels: list[np.ndarray], names=("nucleus",)) -> list[np.ndarray]:
    """Write bool (h, w) masks with a writer of this project; returns them in the whole image."""
    found, whole = [], []
    for number, crop in enumerate(pixels):
        top, left = number % 7, 2 * number % 11
        box = (left, top, left + crop.shape[1], top + crop.shape[0])
        category = number % len(names)
        found.append(Detection(box, 1 - number / 100, category, crop, top, left))
        whole.append(np.zeros((HEIGHT, WIDTH), dtype=bool))
        whole[-1][top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    naming = Naming(list(names), list(range(1, len(names) + 1)))
    info = Info("a.png", ArrayRaster(PIXELS[..., None]), naming)
    writer(Objects(found, HEIGHT, WIDTH), info, path)
    return whole


def differs_at_most_at_the_edge(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two masks are the same but for pixels beside the outline of either."""
    grown = ndimage.binary_dilation(expected, np.ones((3, 3)))
    shrunk = ndimage.binary_erosion(expected, np.ones((3, 3)))
    return bool((found <= grown).all() and (shrunk <= found).all() and found.any())


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just([[[[]]]]),
    st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3),
    st.sampled_from(["point", "mask", "circle", "Point", "MultiPolygon", "tile", 10**400]),
)


def damaged(value, data):
    """JSON with something else in one place."""
    if not isinstance(value, list | dict) or not value or data.draw(st.integers(0, 5)) == 0:
        return data.draw(JUNK)
    places = range(len(value)) if isinstance(value, list) else sorted(value)
    place = data.draw(st.sampled_from(places))
    copy = value.copy()
    copy[place] = damaged(value[place], data)
    return copy
