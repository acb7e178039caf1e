"""stack.jpg: planes of synthetic nuclei, and the objects that the shipped model finds in them.

python docs/figures/draw_stack.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from maskrcnnpp import Predictor
from maskrcnnpp.images import ArrayRaster, Raster
from maskrcnnpp.inference.stacks import predict_planes
from maskrcnnpp.visualization import PALETTE

SIDE, DEPTH, GAP = 160, 4, 6


class Stack(ArrayRaster):
    """Planes in memory."""

    def __init__(self, planes: np.ndarray) -> None:
        super().__init__(planes[0, ..., None])
        self.stack, self._planes = {"z": len(planes)}, planes

    def _read(self, *place: int) -> np.ndarray:
        self._pixels = self._planes[self.plane, ..., None]
        return super()._read(*place)


def nuclei() -> np.ndarray:
    """uint8 (DEPTH, SIDE, SIDE): balls on a jittered grid, in planes 3 pixels apart, with noise."""
    rng = np.random.default_rng(3)
    z, y, x = np.meshgrid(3 * np.arange(DEPTH), *[np.arange(SIDE)] * 2, indexing="ij")
    light = np.zeros(z.shape)
    for top in range(20, SIDE, 30):
        for left in range(20, SIDE, 30):
            middle = np.array([rng.uniform(-3, 12), top, left]) + [0, *rng.uniform(-6, 6, 2)]
            far = np.sqrt(sum((a - m) ** 2 for a, m in zip((z, y, x), middle)))
            light = np.maximum(light, np.clip((rng.uniform(10, 14) - far) / 3, 0, 1))
    return (30 + 150 * light + rng.normal(0, 8, light.shape)).clip(0, 255).astype(np.uint8)


def row(predictor: Predictor, stack: Raster, stitch: float | None) -> np.ndarray:
    """The planes side by side, each object in the colour of its number."""
    shown = []
    for _, objects in predict_planes(predictor, stack, stitch=stitch):
        plane = np.repeat(stack.whole(), 3, axis=2)
        labels = objects.labels()
        colours = np.array(PALETTE)[labels % len(PALETTE)]
        mixed = np.where(labels[..., None] > 0, 0.45 * plane + 0.55 * colours, plane)
        shown.append(np.pad(mixed, ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
    return np.hstack(shown)


if __name__ == "__main__":
    predictor = Predictor.load("nuclei", backend="onnx", diameter=22.0, progress=False)
    stack = Stack(nuclei())
    rows = [row(predictor, stack, stitch) for stitch in (None, 0.3)]
    picture = np.vstack(rows)[:-GAP, :-GAP].astype(np.uint8)
    path = str(Path(__file__).with_name("stack.jpg"))
    cv2.imwrite(path, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
