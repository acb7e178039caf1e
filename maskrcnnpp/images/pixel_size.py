"""The size of a pixel, and how far planes are apart, as the metadata of a TIFF have it."""

from __future__ import annotations

from typing import Any

import tifffile

#: Of what ImageJ, OME and OME-Zarr write as a unit.
MICROMETRES = {"micron": 1.0, "um": 1.0, "µm": 1.0, "\\u00B5m": 1.0, "nm": 1e-3, "mm": 1e3}
MICROMETRES |= {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}
MICROMETRES |= {"microns": 1.0, "cm": 1e4, "inch": 25400.0}
#: Units of the tag ResolutionUnit, and micrometres from which on a pixel is one of print: 72 and
#: 300 pixels an inch say nothing about the object.
_OF_TAG, _PRINT = {2: MICROMETRES["inch"], 3: MICROMETRES["cm"]}, 20.0
_SQUARE = 0.01  # by which the sides of a pixel may differ, as a fraction


def pixel_size(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> float | None:
    """Micrometres a pixel, of OME or ImageJ metadata or of the tags of the file.

    None where these are odd, or it is oblong, or of a print.
    """
    try:
        if file.is_ome:
            return _ome_pixel_size(file, series)
        if file.is_imagej:
            return _of_resolution(file, MICROMETRES[file.imagej_metadata.get("unit", "")])
        side = _of_resolution(file, _OF_TAG[file.pages[0].tags["ResolutionUnit"].value])
        return side if side and side < _PRINT else None
    except Exception:  # no metadata is worth an image
        return None


def plane_distance(file: tifffile.TiffFile) -> float | None:
    """Micrometres between planes in z, of OME or ImageJ metadata; None where they do not say it."""
    try:
        if file.is_ome:
            images = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
            images = images if isinstance(images, list) else [images]
            known = {
                float(pixels["PhysicalSizeZ"]) * MICROMETRES[pixels.get("PhysicalSizeZUnit", "µm")]
                for pixels in (image["Pixels"] for image in images)
            }
            return known.pop() if len(known) == 1 else None
        about = file.imagej_metadata
        return float(about["spacing"]) * MICROMETRES[about.get("unit", "")] or None
    except Exception:  # no metadata is worth an image
        return None


def _ome_pixel_size(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> float | None:
    images = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    images = images if isinstance(images, list) else [images]
    size = tuple(series.shape[series.axes.index(axis)] for axis in "YX")
    fitting = [i for i in images if (i["Pixels"]["SizeY"], i["Pixels"]["SizeX"]) == size]
    # all of them are in this file, in the same order; otherwise the size alone says which it is
    if len(images) == len(file.series) and images[file.series.index(series)] in fitting:
        fitting = [images[file.series.index(series)]]
    sizes = {_side_of_pixel(image["Pixels"]) for image in fitting}
    return sizes.pop() if len(sizes) == 1 else None


def _side_of_pixel(pixels: dict[str, Any]) -> float | None:
    sides = []
    for axis in "XY":
        factor = MICROMETRES[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
        sides.append(float(pixels.get(f"PhysicalSize{axis}", pixels["PhysicalSizeX"])) * factor)
    return side_of_square(*sides)


def _of_resolution(file: tifffile.TiffFile, factor: float) -> float | None:
    sides = []
    for axis in "XY":
        pixels, units = file.pages[0].tags[f"{axis}Resolution"].value
        sides.append(factor * units / pixels)
    return side_of_square(*sides)


def side_of_square(width: float, height: float) -> float | None:
    """The side of a pixel; None where it is oblong."""
    is_square = width > 0 and abs(width - height) <= _SQUARE * width
    return width if is_square else None
