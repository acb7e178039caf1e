"""Files that people open: one writer a format, by name in :data:`WRITERS`.

A writer is called with the objects, the picture they were found in, what the image is called, and
the path to write to. One of a stack is called with the objects of each plane, by its number.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnnpp.inference.writers.coco import write_coco
from maskrcnnpp.inference.writers.geojson import write_geojson
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.label_image import write_labels, write_stack_labels
from maskrcnnpp.inference.writers.ome_zarr import write_ome_zarr, write_stack_ome_zarr
from maskrcnnpp.inference.writers.overlay import write_overlay
from maskrcnnpp.inference.writers.rois import write_rois
from maskrcnnpp.inference.writers.semantic import write_classes, write_probabilities
from maskrcnnpp.inference.writers.table import write_csv, write_stack_csv


class Writer(NamedTuple):
    """Writer of an output format."""

    write: Callable[[Any, Info, Path], None]  #: takes Objects first, or SemanticObjects
    ending: str  #: of its files
    packages: tuple[str, ...] = ()  #: that it needs beside those of this project
    extra: str = "outlines"  #: that brings these packages
    is_semantic: bool = False  #: takes SemanticObjects only
    #: Writes a stack to one file; without it there is a folder with a file of each plane.
    write_stack: Callable[[Mapping[int, Any], Info, Path], None] | None = None
    takes_planes: bool = True  #: whether stacks can be written


#: By name of the format.
WRITERS = {
    "coco": Writer(write_coco, ".coco.json", takes_planes=False),
    "labels": Writer(write_labels, ".labels.tif", write_stack=write_stack_labels),
    "ome-zarr": Writer(
        write_ome_zarr,
        ".labels.ome.zarr",
        ("zarr",),
        "zarr",
        write_stack=write_stack_ome_zarr,
    ),
    "geojson": Writer(write_geojson, ".geojson", ("shapely",)),
    "rois": Writer(write_rois, ".rois.zip", ("roifile", "shapely")),
    "csv": Writer(write_csv, ".csv", write_stack=write_stack_csv),
    "overlay": Writer(write_overlay, ".overlay.png"),
    "classes": Writer(write_classes, ".classes.tif", is_semantic=True),
    "probabilities": Writer(write_probabilities, ".probabilities.tif", is_semantic=True),
}

__all__ = ["WRITERS", "Writer", "output_name"]


def output_name(image: str, form: str, *, is_stack: bool = False) -> str:
    """The name of a format's file of an image; of a stack that of a folder where planes have each
    their own.

    Args:
        image: the whole name of its file.
        form: a key of :data:`WRITERS`.
    """
    is_folder = is_stack and WRITERS[form].write_stack is None
    return f"{image}.{form}" if is_folder else f"{image}{WRITERS[form].ending}"
