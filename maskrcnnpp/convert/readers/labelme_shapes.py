"""Shapes of labelme's files to run-length masks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from maskrcnnpp.convert.readers import decode
from maskrcnnpp.convert.readers.objects import NotAnObject, Region
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.polygons import ellipse_mask, make_ring, ring_mask
from maskrcnnpp.masks.rle import Rle, encode_crop

# of four corners that need not lie along the axes, in labelme and in X-AnyLabeling
_TURNED = ("oriented_rectangle", "rotation")
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_AREAS = ("polygon", "rectangle", "circle", "mask", *_TURNED)


def shapes_of(content: Any) -> list[dict[str, Any]]:
    """The shapes in the content of a JSON file of labelme.

    Raises:
        NotAnObject: the content of the file is something else than labelme's.
        DataError: it is damaged.
    """
    if not (isinstance(content, dict) and "shapes" in content):
        raise NotAnObject("is not a file of labelme: it has no shapes; move it out of the source")
    shapes = content["shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise DataError("has shapes that are not a list of shapes")
    return shapes


def is_area(shape: Mapping[str, Any]) -> bool:
    """Whether a shape has an area."""
    return _kind(shape) in _AREAS


def _kind(shape: Mapping[str, Any]) -> Any:
    return shape.get("shape_type") or "polygon"  # old files have no type


def from_base64(text: Any) -> bytes:
    """Bytes in JSON.

    Raises:
        DataError: they are damaged.
    """
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError, TypeError) as error:
        raise DataError(f"no base64 ({error})") from error


def groups(shapes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Shapes of each object, with what it is called; for what has no area the reason instead."""
    found: dict[Any, Any] = {}
    for number, shape in enumerate(shapes, start=1):
        key: Any = ("shape", number)
        if not is_area(shape):
            kind = _kind(shape)
            error = Region if kind in _WITHOUT_AREA else NotAnObject
            found[key] = error(f"is a {kind}, which has no area")
            continue
        if shape.get("group_id") is not None:
            key = ("group", str(shape["group_id"]), str(shape.get("label")))
        found.setdefault(key, []).append(shape)
    return ((f"{key[0]} {key[1]}", group) for key, group in found.items())


def shape_mask(shape: Mapping[str, Any], height: int, width: int) -> Rle | None:
    """Pixels of a shape; None where that is not a pixel of the image.

    Args:
        shape: such as :func:`is_area` is true for.
        height, width: of the image, pixels.

    Raises:
        DataError: it is damaged.
    """
    kind = _kind(shape)
    points = make_ring(shape.get("points"))
    if kind == "polygon" or kind in _TURNED:
        return ring_mask(points, (), height, width)
    wanted = (2, 4) if kind == "rectangle" else (2,)
    if len(points) not in wanted:
        raise DataError(f"is a {kind} of {len(points)} points, where 2 are needed")
    low, high = points.min(axis=0), points.max(axis=0)
    if kind == "rectangle":
        corners = [low, (high[0], low[1]), high, (low[0], high[1])]
        return ring_mask(corners, (), height, width)
    if kind == "circle":  # its middle, and a point on it
        radius = float(np.hypot(*(points[1] - points[0])))
        return ellipse_mask(tuple(points[0]), (radius, radius), height, width)
    return _placed(_bits(shape.get("mask")), low, high, height, width)


def _bits(text: Any) -> np.ndarray:
    """Bool (height, width) of a PNG as base64."""
    try:
        return decode.decode_pixels(from_base64(text), "mask.png").any(axis=2)
    except DataError as error:
        raise DataError(f"has a damaged mask: {error}") from error


def _placed(
    bits: np.ndarray, low: np.ndarray, high: np.ndarray, height: int, width: int
) -> Rle | None:
    """A mask whose first and last pixel are at ``low`` and ``high``; x, y."""
    left, top = (int(value) for value in low)
    # other programs than labelme name the corner behind the last pixel
    for length, size in zip(bits.shape[::-1], (int(value) for value in high - low)):
        if not size <= length <= size + 1:
            box = "x".join(str(int(value) + 1) for value in high - low)
            raise DataError(f"has a mask of {bits.shape[1]}x{bits.shape[0]} pixels in a box {box}")
    rows, columns = slice(max(-top, 0), height - top), slice(max(-left, 0), width - left)
    if rows.stop <= 0 or columns.stop <= 0 or not (crop := bits[rows, columns]).any():
        return None
    return encode_crop(crop, max(top, 0), max(left, 0), height, width)
