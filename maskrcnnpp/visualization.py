"""Outlines of objects on images, and sheets that put truth and prediction side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util

from maskrcnnpp.errors import DataError
from maskrcnnpp.files import write_bytes
from maskrcnnpp.images import encode_image

# Bright and dark enough to be seen on fluorescence (dark) and on stained tissue (light).
PALETTE = (
    (255, 205, 0),
    (0, 190, 255),
    (255, 60, 60),
    (40, 210, 70),
    (255, 70, 220),
    (255, 140, 0),
    (0, 215, 185),
    (150, 110, 255),
)
IMAGE_COLUMN = "image (contrast stretched)"
COLUMNS = ("truth", "prediction")

_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110)
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_GAP, _LINE = 8, 18  # pixels between cells; height of a line of text
_MAX_ASPECT = 1.5  # a cell's height over its width, at most
# cv2.polylines takes fixed-point coordinates: 4 bits are a sixteenth of a pixel
_SHIFT = 4


@dataclass(frozen=True)
class Panel:
    """Objects to be drawn on an image.

    Args:
        masks: compressed RLE of the image's size.
        scores: score of each object, 0..1; may be empty.
    """

    masks: Sequence[Mapping[str, Any]]
    scores: Sequence[float] = field(default=())


@dataclass(frozen=True)
class SheetRow:
    """One image of a contact sheet.

    Args:
        title: shown above the row, usually the file's name.
        image: height x width x 3, uint8, RGB.
        panels: objects of each column beside the image, such as truth and prediction.
    """

    title: str
    image: np.ndarray
    panels: Sequence[Panel]


def contact_sheet(
    rows: Iterable[SheetRow], cell_width: int = 400, columns: Sequence[str] = COLUMNS
) -> np.ndarray:
    """Image and panels side by side, a row an image.

    Images are scaled to ``cell_width`` (tall ones to 1.5 times it in height) and their contrast is
    stretched; outlines are drawn after the scaling, so that they stay thin.

    Args:
        rows: what to show; one image at a time is held, beside the sheet.
        cell_width: width of a column in pixels; >= 64.
        columns: titles of the rows' panels.

    Returns:
        height x (n * cell_width + (n + 1) * 8) x 3 uint8 RGB, n one more than there are panels.

    Raises:
        DataError: a mask is not of its image's size.
        ValueError: an image is not height x width x 3 uint8, ``cell_width`` is below 64, or a row
            has not as many panels as ``columns``.
    """
    if cell_width < 64:
        raise ValueError(f"cell_width must be at least 64, not {cell_width}")
    width = _sheet_width(1 + len(columns), cell_width)
    bands = [_column_titles([IMAGE_COLUMN, *columns], width, cell_width)]
    for row in rows:
        if len(row.panels) != len(columns):
            raise ValueError(f"{row.title} has {len(row.panels)} panels for {list(columns)}")
        bands.append(_band(row, width, cell_width))
    return np.concatenate(bands, axis=0)


def write_contact_sheet(
    path: str | os.PathLike,
    rows: Iterable[SheetRow],
    cell_width: int = 400,
    columns: Sequence[str] = COLUMNS,
) -> None:
    """Write :func:`contact_sheet` to ``path`` as PNG."""
    data, _ = encode_image(contact_sheet(rows, cell_width, columns))
    write_bytes(path, data)


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must be height x width x 3 uint8, not {image.shape} {image.dtype}")


def _outline(
    canvas: np.ndarray,
    masks: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    scale: float,
    thickness: int,
) -> None:
    """Draw ``masks`` of ``size`` (height, width) on ``canvas``, which is ``scale`` times larger."""
    for mask in masks:
        if tuple(mask["size"]) != tuple(size):
            raise DataError(
                f"a mask has the size {tuple(mask['size'])}, its image {tuple(size)} "
                "(height, width)"
            )
    if not masks:
        return
    boxes = np.asarray(mask_util.toBbox(list(masks)))
    for mask, box, color in zip(masks, boxes, _neighbour_colors(boxes), strict=True):
        contours = [_scaled(contour, scale) for contour in _contours(mask, box)]
        line = cv2.LINE_8 if scale == 1 else cv2.LINE_AA
        cv2.polylines(canvas, contours, True, color, thickness, line, _SHIFT)


def _contours(mask: Mapping[str, Any], box: np.ndarray) -> list[np.ndarray]:
    """Border pixels of one mask, N x 1 x 2 int (x, y), in image coordinates."""
    x, y, width, height = (int(value) for value in box)
    if width == 0 or height == 0:
        return []
    # one full-image mask at a time, of which only the box is kept
    crop = np.ascontiguousarray(mask_util.decode(mask)[y : y + height, x : x + width])
    contours, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    return list(contours)


def _scaled(contour: np.ndarray, scale: float) -> np.ndarray:
    # pixel centres stand at whole numbers, so the image's corner is at -0.5
    points = (contour.astype(np.float64) + 0.5) * scale - 0.5
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _neighbour_colors(boxes: np.ndarray, margin: float = 3.0) -> list[tuple[int, int, int]]:
    """A colour for each box (x, y, width, height) that as few near boxes as possible have."""
    low, high = boxes[:, :2] - margin, boxes[:, :2] + boxes[:, 2:] + margin
    chosen = np.zeros(len(boxes), dtype=np.int64)
    for index in range(1, len(boxes)):
        near = (low[:index] < high[index]).all(1) & (high[:index] > low[index]).all(1)
        used = np.bincount(chosen[:index][near], minlength=len(PALETTE))
        # start at another colour each time, or most lonely objects would be of the first one
        order = (np.arange(len(PALETTE)) + index) % len(PALETTE)
        chosen[index] = order[np.argmin(used[order])]
    return [PALETTE[choice] for choice in chosen]


def _band(row: SheetRow, sheet_width: int, cell_width: int) -> np.ndarray:
    """One row of the sheet: two lines of text above the cells."""
    _check_image(row.image)
    height, width = row.image.shape[:2]
    scale = min(cell_width / width, _MAX_ASPECT * cell_width / height)
    shown = _resized(_stretched(row.image), scale)
    thickness = _line_for([mask for panel in row.panels for mask in panel.masks], scale)
    cells, notes = [shown], [f"{width} x {height} px"]
    for panel in row.panels:
        # the surest last, on top
        scored = len(panel.scores) > 0
        order = np.argsort(panel.scores, kind="stable") if scored else range(len(panel.masks))
        cells.append(shown.copy())
        masks = [panel.masks[index] for index in order]
        _outline(cells[-1], masks, (height, width), scale, thickness)
        notes.append(_note(panel))

    shape = (2 * _LINE + shown.shape[0] + _GAP, sheet_width, 3)
    band = np.full(shape, _PAPER, dtype=np.uint8)
    _write(band, row.title, _GAP, _LINE - 5, _INK, sheet_width - 2 * _GAP)
    for column, (cell, note) in enumerate(zip(cells, notes, strict=True)):
        left = _GAP + column * (cell_width + _GAP)
        _write(band, note, left, 2 * _LINE - 6, _FAINT, cell_width)
        band[2 * _LINE : 2 * _LINE + cell.shape[0], left : left + cell.shape[1]] = cell
    return band


def _line_for(masks: Sequence[Mapping[str, Any]], scale: float) -> int:
    """Thickness of outlines: thin where it would hide what small objects look like."""
    if not masks:
        return 1
    # one by one: pycocotools 2.0 with NumPy 2 fails on a list of more than 255
    areas = [float(mask_util.area(mask)) for mask in masks]
    return 2 if scale * np.sqrt(np.median(areas)) >= 24 else 1


def _note(panel: Panel) -> str:
    note = f"{len(panel.masks)} objects"
    if len(panel.scores):
        note += f", scores {min(panel.scores):.2f} to {max(panel.scores):.2f}"
    return note


def _column_titles(titles: Sequence[str], sheet_width: int, cell_width: int) -> np.ndarray:
    band = np.full((_LINE + _GAP, sheet_width, 3), 235, dtype=np.uint8)
    for column, title in enumerate(titles):
        _write(band, title, _GAP + column * (cell_width + _GAP), _LINE - 1, _INK, cell_width)
    return band


def _sheet_width(columns: int, cell_width: int) -> int:
    return columns * cell_width + (columns + 1) * _GAP


def _stretched(image: np.ndarray) -> np.ndarray:
    """The image with its darkest and brightest half percent at 0 and 255, the hues kept."""
    low, high = np.percentile(image, (0.5, 99.5))
    if high - low < 1:
        return image
    return np.clip((image - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


def _resized(image: np.ndarray, scale: float) -> np.ndarray:
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # below twice the size, nearest would make pixels of unlike widths
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale >= 2 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=method)


def _write(
    canvas: np.ndarray, text: str, x: int, y: int, color: tuple[int, int, int], width: int
) -> None:
    """Write one line from (x, y), shortened in its middle to ``width`` pixels."""
    # OpenCV's fonts are ASCII
    text = text.encode("ascii", "replace").decode("ascii")
    keep = len(text)
    shown = text
    while keep > 8 and cv2.getTextSize(shown, _FONT, _FONT_SCALE, 1)[0][0] > width:
        keep -= 1
        shown = f"{text[: keep - keep // 2]}...{text[len(text) - keep // 2 :]}"
    cv2.putText(canvas, shown, (x, y), _FONT, _FONT_SCALE, color, 1, cv2.LINE_AA)
