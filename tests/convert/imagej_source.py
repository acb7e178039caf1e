"""ROIs of ImageJ, for the tests beside this."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import tifffile
from outline_sources import (
    PIXELS,
    box_mask,
    square,
)
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi


def tif() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, PIXELS, imagej=True)
    return file.getvalue()


TIF = tif()


def zipped(*rois: bytes, **others: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, roi in enumerate(rois, start=1):
            archive.writestr(f"{number:04}-é.roi", roi)
        for name, data in others.items():
            archive.writestr(name, data)
    return file.getvalue()


def polygon(points, kind=ROI_TYPE.POLYGON, **more) -> bytes:
    roi = ImagejRoi.frompoints(np.asarray(points), name="x", **more)
    roi.roitype = kind
    return roi.tobytes()


def exact(points) -> bytes:
    """With fractions that need not be near the whole numbers, as in a damaged file."""
    roi = ImagejRoi.frompoints(np.array(square(1, 1, 2, 2)[: len(points)]))
    roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.subpixel_coordinates = np.array(points, np.float32)
    return roi.tobytes()


def box(kind, left=2, top=3, right=10, bottom=8, **more) -> bytes:
    return ImagejRoi(roitype=kind, left=left, top=top, right=right, bottom=bottom, **more).tobytes()


def exact_box(kind, x, y, width, height) -> bytes:
    place = {"xd": x, "yd": y, "widthd": width, "heightd": height}
    return box(
        kind, int(x), int(y), int(x + width) + 1, int(y + height) + 1,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION, **place,
    )  # fmt: skip


def composite(*rings, bend=False) -> bytes:
    path = []
    for ring in rings:
        for step, (x, y) in enumerate(ring):
            path += [0.0 if step == 0 else 1.0, x, y]
        path += [2.0, 1.0, 1.0, 2.0, 2.0] * bend + [4.0]
    coordinates = np.array(path, np.float32)
    points = np.concatenate([np.array(ring) for ring in rings])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return box(
        ROI_TYPE.RECT, int(left), int(top), int(right), int(bottom),
        shape_roi_size=len(coordinates), multi_coordinates=coordinates,
    )  # fmt: skip


ONE = polygon(square(2, 3, 10, 8))
BOX = box_mask(3, 2, 8, 10)
GOOD = zipped(ONE, polygon(square(20, 10, 25, 30), ROI_TYPE.TRACED))
