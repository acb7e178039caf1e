"""OME-Zarr labels, which napari, Fiji (MoBIE, BigDataViewer) and ngff-zarr read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.files import atomic_folder
from maskrcnnpp.images import Raster
from maskrcnnpp.images.ome_zarr import ZarrRaster, import_zarr
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.tiling import Detection
from maskrcnnpp.inference.writers.info import Info

NAME = "objects"  #: of the label image in its group
_CHUNK = 512  # pixels a side
_TYPES = {"t": "time", "z": "space"}  # of axes
_SMALLEST = 256  # pixels of the longer side, below which no further level is made


def write_ome_zarr(objects: Objects, info: Info, path: Path) -> None:
    """A folder with ``labels/objects``: the label image as a pyramid, with score and class of each.

    Of an OME-Zarr image it has the levels and the version of that image, so that ``labels`` can be
    copied into the image's folder. The image itself is not touched. Others get halved levels and
    version 0.4.

    Raises:
        DataError: zarr is not installed.
        OutputError: the folder cannot be written.
    """
    write_stack_ome_zarr({0: objects}, info, path)


def write_stack_ome_zarr(found: Mapping[int, Objects], info: Info, path: Path) -> None:
    """:func:`write_ome_zarr` of planes, by their numbers, with the axes t and z of the image.

    Planes that were not predicted are 0.
    """
    raster = info.raster
    version = raster.version if isinstance(raster, ZarrRaster) else "0.4"
    sizes = _level_sizes(raster)
    zarr = import_zarr(path)
    with atomic_folder(path) as folder:
        root = _Store(zarr, folder, version)
        root.group("", {})
        root.group("labels", {"labels": [NAME]})
        image_label = {
            "version": version,
            "properties": _properties(found, info),
            "source": {"image": "../../"},
        }
        multiscales = [_multiscale(raster, sizes, version)]
        root.group(f"labels/{NAME}", {"multiscales": multiscales, "image-label": image_label})
        kind = np.result_type(*(objects.label_type for objects in found.values()))
        above = root.array(f"labels/{NAME}/0", raster.stack, sizes[0], kind)
        places = []
        for plane, objects in found.items():
            raster.plane = plane
            places.append(place := tuple(raster.place.values()))
            for (rows, columns), tile in zip(_chunks(sizes[0]), objects.label_tiles(_CHUNK)):
                part = tile[: rows.stop - rows.start, : columns.stop - columns.start]
                index = (*place, rows, columns)
                above[index] = part
        for level, size in enumerate(sizes[1:], start=1):
            below = root.array(f"labels/{NAME}/{level}", raster.stack, size, kind)
            for place in places:
                for rows, columns in _chunks(size):
                    index = (*place, rows, columns)
                    below[index] = _nearest(above, place, size, rows, columns)
            above = below


def _properties(found: Mapping[int, Objects], info: Info) -> list[dict[str, Any]]:
    """Class and score of each number; of an object in several planes the highest score."""
    best: dict[int, Detection] = {}
    for objects in found.values():
        for number, entry in zip(objects.numbers, objects):
            if number not in best or entry.score > best[number].score:
                best[number] = entry
    return [
        {
            "label-value": int(number),
            "class": info.naming.category_names[entry.category],
            "score": round(entry.score, 6),
        }
        for number, entry in best.items()
    ]


class _Store:
    """A folder of Zarr, version 2 or 3 as the OME metadata ask for."""

    def __init__(self, zarr: Any, folder: Path, version: str) -> None:
        self._zarr, self._folder, self._is_new = zarr, folder, version != "0.4"
        # zarr before 3 knows no other format than 2, and not this argument
        has_formats = int(zarr.__version__.split(".")[0]) >= 3
        self._format = {"zarr_format": 3 if self._is_new else 2} if has_formats else {}

    def group(self, name: str, about: dict[str, Any]) -> None:
        group = self._zarr.open_group(str(self._folder / name), mode="a", **self._format)
        group.attrs.update({"ome": {"version": "0.5", **about}} if self._is_new else about)

    def array(
        self, name: str, stack: Mapping[str, int], size: tuple[int, int], dtype: np.dtype
    ) -> Any:
        nested = {} if self._is_new else {"dimension_separator": "/"}
        names = {"dimension_names": [*stack, "y", "x"]} if self._is_new else {}
        return self._zarr.create(
            shape=(*stack.values(), *size),
            chunks=(*[1] * len(stack), _CHUNK, _CHUNK),
            dtype=dtype,
            fill_value=0,
            store=str(self._folder / name),
            **nested,
            **names,
            **self._format,
        )


def _level_sizes(raster: Raster) -> list[tuple[int, int]]:
    if isinstance(raster, ZarrRaster):
        return raster.level_sizes
    sizes = [(raster.height, raster.width)]
    while max(sizes[-1]) > _SMALLEST:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def _multiscale(raster: Raster, sizes: list[tuple[int, int]], version: str) -> dict[str, Any]:
    unit = {"unit": "micrometer"} if raster.micrometres else {}
    side = raster.micrometres or 1.0
    steps = {axis: raster.steps.get(axis, (1.0, "")) for axis in raster.stack}
    axes = [
        {"name": axis, "type": _TYPES[axis], **({"unit": name} if name else {})}
        for axis, (_, name) in steps.items()
    ]
    datasets = []
    for level, size in enumerate(sizes):
        scale = [step for step, _ in steps.values()]
        scale += [side * whole / part for whole, part in zip(sizes[0], size)]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    return {
        "version": version,
        "name": NAME,
        "axes": [*axes, *({"name": name, "type": "space", **unit} for name in "yx")],
        "datasets": datasets,
    }


def _chunks(size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each chunk, row by row."""
    for top in range(0, size[0], _CHUNK):
        for left in range(0, size[1], _CHUNK):
            yield (
                slice(top, min(top + _CHUNK, size[0])),
                slice(left, min(left + _CHUNK, size[1])),
            )


def _nearest(
    above: Any, place: tuple[int, ...], size: tuple[int, int], rows: slice, columns: slice
) -> np.ndarray:
    """A chunk of a smaller level: of each pixel the nearest of the level above, no mean of them."""
    y, x = (
        ((np.arange(part.start, part.stop) + 0.5) * whole / own).astype(int)
        for part, whole, own in zip((rows, columns), above.shape[-2:], size)
    )
    window = (*place, slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1))
    seen = np.asarray(above[window])
    return seen[np.ix_(y - y[0], x - x[0])]
