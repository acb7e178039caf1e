"""The picture of a layer that a model looks at: one plane, some channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import ArrayRaster

#: Choices of channels beside single colours.
SHOWN, COLOUR, ALL = "plane shown", "RGB", "first axis as channels"
_COLOURS = ("red", "green", "blue")
_MOST_CHANNELS = 16
_MOST_DIMENSIONS = 4
_UNSAFE = '<>:"/\\|?*'


@dataclass(frozen=True, eq=False)
class Plane:
    """Pixels of a layer, and where they lie in the world."""

    name: str  #: of the layer and plane; can be a file name
    pixels: np.ndarray  #: (height, width, channels)
    is_colour: bool  #: whether they are grey, or red, green and blue
    micrometres: float | None  #: side of a pixel, where it is known
    place: dict[str, Any]  #: of a layer of two dimensions on it: scale, translate, ...

    def raster(self) -> ArrayRaster:
        """The plane as a raster, with all channels chosen."""
        raster = ArrayRaster(
            self.pixels, name=self.name, is_colour=self.is_colour, micrometres=self.micrometres
        )
        raster.choose(range(self.pixels.shape[2]))
        return raster


def channel_choices(layer: Any) -> list[str]:
    """Choices of channels of an Image layer, the usual first; a single one needs no asking."""
    if layer.rgb:
        return [COLOUR, *_COLOURS]
    shape = _full(layer).shape
    return [SHOWN, ALL] if len(shape) == 3 and 2 <= shape[0] <= _MOST_CHANNELS else [SHOWN]


def plane_of(layer: Any, point: Sequence[float], channels: str) -> Plane:
    """The plane of a layer that is shown.

    Args:
        layer: an Image layer of napari.
        point: of the world, where the sliders of the viewer are (``viewer.dims.point``).
        channels: one of :func:`channel_choices`.

    Raises:
        DataError: no layer, an empty one, one of more than four dimensions or of none that make a
            picture, or the sliders are beside it.
    """
    if layer is None:
        raise DataError("no image is chosen: open one, and choose its layer")
    data = _full(layer)
    shape = tuple(data.shape[:-1] if layer.rgb else data.shape)
    size = "x".join(map(str, data.shape))
    if len(shape) < 2:
        raise DataError(f"the layer {layer.name} is of {size}: it is no picture")
    if len(shape) > _MOST_DIMENSIONS:
        raise DataError(
            f"the layer {layer.name} has {len(shape)} dimensions ({size}); at most "
            f"{_MOST_DIMENSIONS} are taken, such as time, depth, height and width: split it first "
            "(right click on the layer, Split Stack)"
        )
    if 0 in data.shape:
        raise DataError(f"the layer {layer.name} is empty: {size} pixels")
    if channels not in channel_choices(layer):
        raise DataError(f"the layer {layer.name} has no channels {channels!r}")
    if channels == ALL:
        place: tuple[int, ...] = ()
        pixels = np.moveaxis(np.asarray(data), 0, -1)
    else:
        place = _place(layer, point, shape)
        pixels = np.asarray(data[place])
    if not layer.rgb and channels == SHOWN:
        pixels = pixels[..., None]
    if layer.rgb:
        names = list(range(3)) if channels == COLOUR else [_COLOURS.index(channels)]
        pixels = pixels[..., names]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    return Plane(
        name="_".join([_file_name(layer), *map(str, place)]),
        pixels=np.ascontiguousarray(pixels),
        is_colour=channels != ALL,
        micrometres=_micrometres(layer),
        place=_in_world(layer),
    )


def says(layer: Any, point: Sequence[float]) -> str:
    """In words which plane of a stack is taken; "" where the layer has one."""
    shape = _full(layer).shape
    if len(shape) - bool(layer.rgb) < 3:
        return ""
    place = _place(layer, point, shape[:-1] if layer.rgb else shape)
    where = ", ".join(f"{k + 1} of {n}" for k, n in zip(place, shape))
    return f"Only the plane that is shown is looked at ({where}); there is no 3-D."


def labels_of(layer: Any, point: Sequence[float], plane: Plane) -> np.ndarray:
    """The plane of a Labels layer that lies on the picture.

    Args:
        layer: a Labels layer of napari.
        point: see :func:`plane_of`.
        plane: the picture.

    Returns:
        integers (height, width).

    Raises:
        DataError: no layer, or of another size, without an object, or with negative labels.
    """
    if layer is None:
        raise DataError("no labels are chosen: segment the image first, or add a Labels layer")
    data = _full(layer)
    if len(data.shape) < 2:
        raise DataError(f"the layer {layer.name} is no picture")
    labels = np.asarray(data[_place(layer, point, data.shape)])
    if labels.shape != plane.pixels.shape[:2]:
        theirs, ours = ("x".join(map(str, s)) for s in (labels.shape, plane.pixels.shape[:2]))
        raise DataError(
            f"the labels {layer.name} are of {theirs} pixels, the image of {ours}: choose labels "
            "of this image"
        )
    if labels.min() < 0:
        raise DataError(f"the labels {layer.name} have negative numbers; objects are 1, 2, ...")
    if not labels.any():
        raise DataError(f"the labels {layer.name} have no object: draw or segment some first")
    return labels


def _full(layer: Any) -> Any:
    """The data, of a pyramid its largest level."""
    return layer.data[0] if layer.multiscale else layer.data


def _place(layer: Any, point: Sequence[float], shape: Sequence[int]) -> tuple[int, ...]:
    """Where the sliders are on the axes of a layer before height and width."""
    if len(shape) == 2:
        return ()
    place = tuple(round(float(x)) for x in layer.world_to_data(point)[: len(shape) - 2])
    if not all(0 <= k < length for k, length in zip(place, shape)):
        raise DataError(
            f"the sliders are beside the layer {layer.name}: move them until it is shown"
        )
    return place


def _file_name(layer: Any) -> str:
    """The name of the layer's file, or else of the layer."""
    path = getattr(getattr(layer, "source", None), "path", None)
    name = Path(path).name if path else str(layer.name)
    safe = "".join("_" if c in _UNSAFE or not c.isprintable() else c for c in name)
    return safe.strip(". ") or "image"


def _micrometres(layer: Any) -> float | None:
    units = [str(unit) for unit in getattr(layer, "units", ())[-2:]]
    rows, columns = (float(side) for side in layer.scale[-2:])
    return columns if units == ["micrometer"] * 2 and rows == columns else None


def _in_world(layer: Any) -> dict[str, Any]:
    place = {"scale": layer.scale[-2:], "translate": layer.translate[-2:]}
    if units := getattr(layer, "units", ()):
        place["units"] = units[-2:]
    return place
