"""Label images, which Fiji, napari, CellProfiler and scikit-image read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from maskrcnnpp.files import atomic_path
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info

_TILE = 512  # pixels a side
_TILED_FROM = 4096  # pixels a side, of the image
_BIG = 2**32 - 2**25  # bytes that a TIFF of the usual kind holds


def write_labels(objects: Objects, info: Info, path: Path) -> None:
    """TIFF of 16 or 32 bits, compressed; 0 is background, n the n-th row of the other formats.

    Where masks overlap, which they do with ``overlaps="keep"`` only, the object with the higher
    score has the pixel. Large ones are tiled.
    """
    height, width = objects.image_size
    with atomic_path(path) as temporary:
        if max(height, width) < _TILED_FROM:
            tifffile.imwrite(temporary, objects.labels(), compression="zlib")
            return
        kind = np.dtype(objects.label_type)
        tifffile.imwrite(
            temporary,
            objects.label_tiles(_TILE),
            shape=objects.image_size,
            dtype=kind,
            tile=(_TILE, _TILE),
            compression="zlib",
            bigtiff=height * width * kind.itemsize > _BIG,
        )
