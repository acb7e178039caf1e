"""A table of measurements, which pandas, R and spreadsheets read."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.files import atomic_path
from maskrcnnpp.images import Raster
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.writers.info import Info
from maskrcnnpp.inference.writers.shape import measure_shape

_PLACES = ("x0", "y0", "x1", "y1", "x", "y")
_BLOCK = 2048  # pixels a side of what is read at a time


def write_csv(objects: Objects, info: Info, path: Path) -> None:
    """One row an object. Lengths are pixels; micrometres follow where the file has a pixel size.

    Columns: number (as in the label image), class, score, box, area, centroid (of pixel centres,
    from 0), major and minor axis and eccentricity of the ellipse of the same second moments,
    solidity, perimeter, and the mean intensity of each channel, by its number in the file.
    """
    _write(path, table_columns(info), measure_rows(objects, info))


def write_stack_csv(found: Mapping[int, Objects], info: Info, path: Path) -> None:
    """:func:`write_csv` of several planes, with the columns ``plane``, or ``t`` and ``z``."""

    def rows() -> Iterator[dict[str, Any]]:
        for plane, objects in found.items():
            info.raster.plane = plane
            for row in measure_rows(objects, info):
                yield {**row, **info.raster.where}

    number, *others = table_columns(info)
    _write(path, [number, *info.raster.where, *others], rows())


def _write(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def table_columns(info: Info) -> list[str]:
    """Names of the columns of :func:`write_csv`."""
    names = ["number", "class", "score", "x0", "y0", "x1", "y1", "area", "x", "y"]
    names += ["major_axis", "minor_axis", "eccentricity", "solidity", "perimeter"]
    names += [f"mean_{channel}" for channel in info.raster.channels]
    if info.raster.micrometres:
        names += ["area_um2", "major_axis_um", "minor_axis_um", "perimeter_um"]
    return names


def measure_rows(objects: Objects, info: Info) -> Iterator[dict[str, Any]]:
    """Rows of :func:`write_csv`, values by column."""
    intensities = _mean_intensities(objects, info.raster)
    for number, entry, means in zip(objects.numbers, objects, intensities):
        row: dict[str, Any] = {
            "number": number,
            "class": info.naming.category_names[entry.category],
            "score": entry.score,
            **dict(zip(("x0", "y0", "x1", "y1"), entry.box)),
            **measure_shape(entry),
            **{f"mean_{channel}": float(m) for channel, m in zip(info.raster.channels, means)},
        }
        if side := info.raster.micrometres:
            row["area_um2"] = row["area"] * side**2
            for name in ("major_axis", "minor_axis", "perimeter"):
                row[f"{name}_um"] = row[name] * side
        yield {name: _rounded(name, value) for name, value in row.items()}


def _mean_intensities(objects: Objects, raster: Raster) -> np.ndarray:
    """Mean intensity by object and channel, float64 (N, channels). The image is read in squares."""
    sums = np.zeros((len(objects), raster.shape[2]))
    for tile, indices in objects.by_tile(_BLOCK):
        if not indices:
            continue
        pixels = raster.region(tile.top, tile.left, tile.bottom, tile.right)
        for index in indices:
            found = objects.detections[index].within(tile)
            assert found is not None  # by_tile gives those that reach into it
            place, mask = found
            rows = slice(place.top - tile.top, place.bottom - tile.top)
            window = pixels[rows, place.left - tile.left : place.right - tile.left]
            sums[index] += window[mask].sum(axis=0, dtype=np.float64)
    areas = np.array([entry.area for entry in objects]).reshape(-1, 1)
    return sums / areas


def _rounded(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # on a slide places have more digits than are worth telling of the rest
    return round(value, 3) if name in _PLACES else float(f"{value:.6g}")
