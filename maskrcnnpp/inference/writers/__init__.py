"""Files that people open: one writer a format, by name in :data:`WRITERS`.

A writer is called with the objects, the picture they were found in, what the image is called, and
the path to write to.
"""

from maskrcnnpp.inference.writers.coco import write_coco
from maskrcnnpp.inference.writers.geojson import write_geojson
from maskrcnnpp.inference.writers.label_image import write_labels
from maskrcnnpp.inference.writers.overlay import write_overlay
from maskrcnnpp.inference.writers.rois import write_rois
from maskrcnnpp.inference.writers.table import write_csv

#: Name of a format -> its writer and the ending of its files.
WRITERS = {
    "coco": (write_coco, ".coco.json"),
    "labels": (write_labels, ".labels.tif"),
    "geojson": (write_geojson, ".geojson"),
    "rois": (write_rois, ".rois.zip"),
    "csv": (write_csv, ".csv"),
    "overlay": (write_overlay, ".overlay.png"),
}

__all__ = ["WRITERS"]
