"""Files that people open: one writer a format, by name in :data:`WRITERS`.

A writer is called with the objects, the picture they were found in, what the image is called, and
the path to write to.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnnpp.inference.writers.coco import write_coco
from maskrcnnpp.inference.writers.geojson import write_geojson
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.label_image import write_labels
from maskrcnnpp.inference.writers.ome_zarr import write_ome_zarr
from maskrcnnpp.inference.writers.overlay import write_overlay
from maskrcnnpp.inference.writers.rois import write_rois
from maskrcnnpp.inference.writers.semantic import write_classes, write_probabilities
from maskrcnnpp.inference.writers.table import write_csv


class Writer(NamedTuple):
    """Of a format."""

    write: Callable[[Any, Info, Path], None]  #: takes Objects first, or SemanticObjects
    ending: str  #: of its files
    packages: tuple[str, ...] = ()  #: that it needs beside those of this project
    extra: str = "outlines"  #: that brings these packages
    is_semantic: bool = False  #: takes SemanticObjects only


#: By name of the format.
WRITERS = {
    "coco": Writer(write_coco, ".coco.json"),
    "labels": Writer(write_labels, ".labels.tif"),
    "ome-zarr": Writer(write_ome_zarr, ".labels.ome.zarr", ("zarr",), "zarr"),
    "geojson": Writer(write_geojson, ".geojson", ("shapely",)),
    "rois": Writer(write_rois, ".rois.zip", ("roifile", "shapely")),
    "csv": Writer(write_csv, ".csv"),
    "overlay": Writer(write_overlay, ".overlay.png"),
    "classes": Writer(write_classes, ".classes.tif", is_semantic=True),
    "probabilities": Writer(write_probabilities, ".probabilities.tif", is_semantic=True),
}

__all__ = ["WRITERS", "Writer"]
