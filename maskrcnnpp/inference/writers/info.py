"""What a writer is told beside the objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnnpp.data.image_io import Raster


@dataclass(frozen=True, eq=False)
class Info:
    """The image that the objects were found in."""

    name: str  #: of its file
    raster: Raster
    category_names: Sequence[str]  #: of the model's 0, 1, ...
    category_ids: Sequence[int]  #: of the data set, for COCO
