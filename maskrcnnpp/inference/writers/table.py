"""A table of measurements, which pandas, R and spreadsheets read."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from skimage.measure import regionprops

from maskrcnnpp.files import atomic_path
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers.info import Info


def write_csv(objects: Objects, info: Info, path: Path) -> None:
    """One row an object. Lengths are pixels; micrometres follow where the file has a pixel size.

    Columns: number (as in the label image), class, score, box, area, centroid (of pixel centres,
    from 0), major and minor axis and eccentricity of the ellipse of the same second moments,
    solidity, perimeter, and the mean intensity of each channel.
    """
    rows = list(_rows(objects, info))
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _columns(info))
        writer.writeheader()
        writer.writerows(rows)


def _columns(info: Info) -> list[str]:
    names = ["number", "class", "score", "x0", "y0", "x1", "y1", "area", "x", "y"]
    names += ["major_axis", "minor_axis", "eccentricity", "solidity", "perimeter"]
    names += [f"mean_{channel}" for channel in range(info.picture.pixels.shape[2])]
    if info.picture.micrometres:
        names += ["area_um2", "major_axis_um", "minor_axis_um", "perimeter_um"]
    return names


def _rows(objects: Objects, info: Info) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(objects, start=1):
        row = {
            "number": number,
            "class": info.category_names[entry.category],
            "score": entry.score,
            **dict(zip(("x0", "y0", "x1", "y1"), entry.box)),
            **_shape(entry),
            **_intensities(entry, info.picture.pixels),
        }
        if side := info.picture.micrometres:
            row["area_um2"] = row["area"] * side**2
            for name in ("major_axis", "minor_axis", "perimeter"):
                row[f"{name}_um"] = row[name] * side
        yield {name: _rounded(value) for name, value in row.items()}


def _shape(entry: Detection) -> dict[str, float]:
    # a frame of background: what touches the side of its window has a border there too
    (region,) = regionprops(np.pad(entry.pixels, 1).astype(np.uint8))
    y, x = region.centroid
    return {
        "area": entry.area,
        "x": x - 1 + entry.left,
        "y": y - 1 + entry.top,
        "major_axis": region.axis_major_length,
        "minor_axis": region.axis_minor_length,
        "eccentricity": region.eccentricity,
        # hulls of lines and single pixels are theirs
        "solidity": region.solidity if min(entry.pixels.shape) > 1 else 1.0,
        "perimeter": region.perimeter,
    }


def _intensities(entry: Detection, pixels: np.ndarray) -> dict[str, float]:
    window = pixels[entry.top : entry.bottom, entry.left : entry.right][entry.pixels]
    return {f"mean_{k}": value for k, value in enumerate(window.mean(axis=0, dtype=np.float64))}


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
