"""Input of a writer beside the objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskrcnnpp.images import Raster
from maskrcnnpp.inference.naming import Naming


@dataclass(frozen=True, eq=False)
class Info:
    """The image that the objects were found in."""

    image_id: Any  #: for COCO
    raster: Raster
    naming: Naming
