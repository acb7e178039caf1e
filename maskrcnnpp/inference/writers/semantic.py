"""Semantic predictions: the classes of pixels, and how likely each is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from maskrcnnpp.files import atomic_path
from maskrcnnpp.inference.objects import SemanticObjects
from maskrcnnpp.inference.writers.info import Info


def write_classes(objects: SemanticObjects, info: Info, path: Path) -> None:
    """TIFF of 8 bits: 0 is background, n the n-th class."""
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, objects.classes(), compression="zlib")


def write_probabilities(objects: SemanticObjects, info: Info, path: Path) -> None:
    """TIFF of 8 bits with a channel for each class: the probability times 255."""
    values = np.rint(objects.probabilities * 255).astype(np.uint8)
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            values,
            compression="zlib",
            metadata={"axes": "CYX"},
            photometric="minisblack",
        )
