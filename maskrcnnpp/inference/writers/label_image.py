"""Label images, which Fiji, napari, CellProfiler and scikit-image read."""

from __future__ import annotations

from pathlib import Path

import tifffile

from maskrcnnpp.files import atomic_path
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info

_TILED_FROM = 4096  # pixels a side


def write_labels(objects: Objects, info: Info, path: Path) -> None:
    """TIFF of 16 or 32 bits, compressed; 0 is background, n the n-th row of the other formats.

    Where masks overlap, the object with the higher score has the pixel. Large ones are tiled.
    """
    labels = objects.labels()
    options = {"tile": (512, 512)} if max(labels.shape) >= _TILED_FROM else {}
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, labels, compression="zlib", **options)
