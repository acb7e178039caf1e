"""ROI zips, which the ROI manager of ImageJ and Fiji opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskrcnnpp.errors import UserError
from maskrcnnpp.files import atomic_path
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.outlines import outline


def write_rois(objects: Objects, info: Info, path: Path) -> None:
    """One polygon an object, named by its number; of several parts the largest, without holes.

    Raises:
        UserError: roifile or shapely is not installed.
    """
    try:
        from roifile import ImagejRoi, roiwrite
    except ImportError as error:
        raise UserError(
            "rois need roifile: pip install 'maskrcnnpp[outlines]', or leave out this format"
        ) from error
    rois = []
    for number, entry in zip(objects.numbers, objects):
        shape = outline(entry)
        parts = getattr(shape, "geoms", [shape])
        largest = max(parts, key=lambda part: part.area)
        points = np.array(largest.exterior.coords)[:-1]
        rois.append(ImagejRoi.frompoints(points, name=f"{number:06d}"))
    with atomic_path(path) as temporary:
        if rois:
            temporary.unlink()  # roifile adds to a zip that is there
            roiwrite(temporary, rois)
        else:
            temporary.write_bytes(b"PK\x05\x06" + bytes(18))  # a zip without entries
