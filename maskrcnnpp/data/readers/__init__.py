"""What data sets look like on disk: one reader a layout, by name in :data:`READERS`."""

from __future__ import annotations

from maskrcnnpp.data.readers.base import Reader
from maskrcnnpp.data.readers.binary import BinaryReader
from maskrcnnpp.data.readers.coco import CocoReader
from maskrcnnpp.data.readers.ctc import CtcReader
from maskrcnnpp.data.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.data.readers.dsb2018_csv import Dsb2018CsvReader
from maskrcnnpp.data.readers.geojson import GeojsonReader
from maskrcnnpp.data.readers.hovernet import HovernetReader
from maskrcnnpp.data.readers.imagej import ImagejReader
from maskrcnnpp.data.readers.labelme import LabelmeReader
from maskrcnnpp.data.readers.labels import LabelsReader
from maskrcnnpp.data.readers.monuseg import MonusegReader
from maskrcnnpp.data.readers.pannuke import PannukeReader

#: Name of a layout -> its reader.
READERS: dict[str, type[Reader]] = {
    "binary": BinaryReader,
    "coco": CocoReader,
    "ctc": CtcReader,
    "dsb2018": Dsb2018Reader,
    "dsb2018_csv": Dsb2018CsvReader,
    "geojson": GeojsonReader,
    "hovernet": HovernetReader,
    "imagej": ImagejReader,
    "labelme": LabelmeReader,
    "labels": LabelsReader,
    "monuseg": MonusegReader,
    "pannuke": PannukeReader,
}

__all__ = ["READERS", "Reader"]
