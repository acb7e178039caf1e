"""Label images, which Fiji, napari, CellProfiler and scikit-image read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from maskrcnnpp.files import atomic_path
from maskrcnnpp.images import Raster
from maskrcnnpp.images.pixel_size import MICROMETRES
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info

_TILE = 512  # pixels a side
_TILED_FROM = 4096  # pixels a side, of the image
_BIG = 2**32 - 2**25  # bytes that a TIFF of the usual kind holds


def write_labels(objects: Objects, info: Info, path: Path) -> None:
    """TIFF of 16 or 32 bits, compressed; 0 is background, n the n-th row of the other formats.

    Where masks overlap, which they do with ``overlaps="keep"`` only, the object with the higher
    score has the pixel. Large ones are tiled. The size of a pixel is that of the image.
    """
    height, width = objects.image_size
    side = info.raster.micrometres
    scale: dict[str, Any] = {}
    if side:
        scale = {"resolution": (1e4 / side, 1e4 / side), "resolutionunit": "CENTIMETER"}
    with atomic_path(path) as temporary:
        if max(height, width) < _TILED_FROM:
            tifffile.imwrite(temporary, objects.labels(), compression="zlib", **scale)
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
            **scale,
        )


def write_stack_labels(found: Mapping[int, Objects], info: Info, path: Path) -> None:
    """:func:`write_labels` of a stack: one TIFF with its axes, T and Z, which Fiji opens as such.

    Planes that were not predicted are 0. Above 65535 objects, or 4 GB before compression, it is an
    OME-TIFF, as ImageJ's own has no place for them.

    Args:
        found: of each plane that was predicted, by its number.
    """
    stack, size = info.raster.stack, (info.raster.height, info.raster.width)
    if not stack:
        return write_labels(found[0], info, path)
    kind = np.result_type(*(objects.label_type for objects in found.values()))
    shape = (*stack.values(), *size)
    is_large = math.prod(shape) * kind.itemsize > _BIG
    is_imagej = kind == np.uint16 and not is_large
    pages = (
        found[plane].labels().astype(kind) if plane in found else np.zeros(size, kind)
        for plane in range(info.raster.planes)
    )
    scale, about = _scale_of_stack(info.raster, is_imagej=is_imagej)
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            pages,
            shape=shape,
            dtype=kind,
            metadata={"axes": f"{''.join(stack)}yx".upper(), **about},
            compression="zlib",
            imagej=is_imagej,
            ome=not is_imagej,
            bigtiff=is_large,
            **scale,
        )


def _scale_of_stack(raster: Raster, *, is_imagej: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments and metadata of tifffile: size of a pixel, and distance of planes."""
    side = raster.micrometres
    if not side:
        return {}, {}
    distance, unit = raster.steps.get("z", (0.0, ""))
    distance *= MICROMETRES.get(unit, 0.0)
    if is_imagej:
        about: dict[str, Any] = {"unit": "um", **({"spacing": distance} if distance else {})}
        return {"resolution": (1 / side,) * 2}, about
    sides = {"X": side, "Y": side, **({"Z": distance} if distance else {})}
    sizes = {f"PhysicalSize{axis}": size for axis, size in sides.items()}
    return {}, sizes | {f"PhysicalSize{axis}Unit": "µm" for axis in sides}
