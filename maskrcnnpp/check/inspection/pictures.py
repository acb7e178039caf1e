"""Pictures of what is in a data set. PNG bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from maskrcnnpp.check.inspection.reading import CocoSet
from maskrcnnpp.images import encode_image
from maskrcnnpp.images.display import as_rgb
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.plots import COLORS, new_figure, png
from maskrcnnpp.visualization import Panel, SheetRow, contact_sheet

#: What is reported of objects: name in the numbers, and in words.
DISTRIBUTIONS = (
    ("an_image", "objects an image"),
    ("density", "objects a megapixel"),
    ("area_fraction", "part of an image that is object"),
    ("area", "area, px"),
    ("diameter", "diameter of the disk of that area, px"),
    ("box_long_side", "long side of the box, px"),
    ("box_short_side", "short side of the box, px"),
    ("aspect_ratio", "height / width of the box"),
    ("eccentricity", "eccentricity (0 a disk, 1 a line)"),
    ("solidity", "solidity (area / convex hull)"),
)

#: Those of which an image has one; the others are of objects.
OF_IMAGES = ("an_image", "density", "area_fraction")
_CELL = 300  # pixels of an image on the sheet
# of a typical object on the sheet; where it would have fewer, only a part of the image is shown
_OBJECT_PIXELS = 14


def samples_sheet(numbers: Mapping[str, Any], data: CocoSet) -> bytes:
    """The samples, each beside its outlines, in two columns. PNG."""
    samples = numbers["samples"]
    half = -(-len(samples) // 2)
    diameter = numbers["objects"]["distributions"]["diameter"]["p50"]
    parts = [
        contact_sheet(_sheet_rows(part, data, diameter), _CELL, columns=("objects",))
        for part in (samples[:half], samples[half:])
        if part
    ]
    height = max(len(part) for part in parts)
    padded = [
        np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=255)
        for part in parts
    ]
    return encode_image(np.concatenate(padded, axis=1))[0]


def _sheet_rows(
    samples: Sequence[Mapping[str, Any]], data: CocoSet, diameter: float
) -> Iterator[SheetRow]:
    for sample in samples:
        image, _ = data.read_one(sample["id"])
        pixels = as_rgb(image.pixels, image.is_colour)
        height, width = pixels.shape[:2]
        # of a large image a part, or its objects would be dots
        side = max(64, round(_CELL * diameter / _OBJECT_PIXELS))
        top, left = _window(image.crops, height, width, side)
        bottom, right = min(top + side, height), min(left + side, width)
        whole = (bottom - top, right - left) == (height, width)
        title = f"{image.file_name} ({sample['group']})"
        if not whole:
            title = f"part of {title}, {width} x {height} px, {sample['objects']} objects"
        parts = (crop.within(top, left, bottom, right) for crop in image.crops)
        shown = [part.rle(bottom - top, right - left) for part in parts if part is not None]
        yield SheetRow(title, pixels[top:bottom, left:right], [Panel(shown)])


def _window(crops: Sequence[Crop], height: int, width: int, side: int) -> tuple[int, int]:
    """Top and left of a square part that has the object in the middle of the others."""
    if not crops:
        return max(0, (height - side) // 2), max(0, (width - side) // 2)
    centres = np.array([((c.top + c.bottom) / 2, (c.left + c.right) / 2) for c in crops])
    away = np.abs(centres - np.median(centres, axis=0)).sum(axis=1)
    corner = centres[int(np.argmin(away))] - side / 2
    top, left = np.clip(corner, 0, np.maximum((height - side, width - side), 0)).astype(int)
    return int(top), int(left)


def histograms(numbers: Mapping[str, Any]) -> bytes:
    """Histograms as PNG."""
    about = numbers["objects"]["distributions"]
    shown = [(key, words) for key, words in DISTRIBUTIONS if key in about]
    columns = 4
    rows = -(-len(shown) // columns)
    figure = new_figure(13, 2.4 * rows)
    for index, (key, words) in enumerate(shown):
        axes = figure.add_subplot(rows, columns, index + 1)
        histogram = about[key]["histogram"]
        axes.stairs(histogram["counts"], histogram["edges"], fill=True, color=COLORS[0])
        axes.axvline(about[key]["p50"], color=COLORS[1], lw=1.2)
        if histogram["logarithmic"]:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=_ticks(histogram["edges"])))
            axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(words, fontsize=9)
        axes.set_ylabel("images" if key in OF_IMAGES else "objects", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure, dpi=100)


def _ticks(edges: Sequence[float]) -> tuple[float, ...]:
    """Numbers of each power of ten that are marked: fewer where the axis is long."""
    return (1, 2, 5) if edges[-1] / edges[0] < 500 else (1,)
