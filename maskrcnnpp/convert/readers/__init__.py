"""Readers of the layouts of data sets on disk, by name in :data:`READERS`."""

from __future__ import annotations

from maskrcnnpp.convert.readers.base import Reader
from maskrcnnpp.convert.readers.binary import BinaryReader
from maskrcnnpp.convert.readers.coco import CocoReader
from maskrcnnpp.convert.readers.ctc import CtcReader
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.convert.readers.dsb2018_csv import Dsb2018CsvReader
from maskrcnnpp.convert.readers.geojson import GeojsonReader
from maskrcnnpp.convert.readers.hovernet import HovernetReader
from maskrcnnpp.convert.readers.imagej import ImagejReader
from maskrcnnpp.convert.readers.labelme import LabelmeReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.convert.readers.monuseg import MonusegReader
from maskrcnnpp.convert.readers.pannuke import PannukeReader

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
