"""What data sets look like on disk: one reader a layout, by name in :data:`READERS`."""

from __future__ import annotations

from maskrcnnpp.data.readers.base import Reader
from maskrcnnpp.data.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.data.readers.labels import LabelsReader

#: Name of a layout -> its reader.
READERS: dict[str, type[Reader]] = {
    "dsb2018": Dsb2018Reader,
    "labels": LabelsReader,
}

__all__ = ["READERS", "Reader"]
