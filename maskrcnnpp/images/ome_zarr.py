"""OME-Zarr (OME-NGFF 0.4 and 0.5): folders of chunks, of which only what is asked for is read."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.errors import DataError, printable
from maskrcnnpp.images.pixel_size import MICROMETRES, side_of_square
from maskrcnnpp.images.raster import Raster

logger = logging.getLogger(__name__)

ZARR_SUFFIX = ".zarr"
#: What is in the folder of a group or an array, of Zarr 2 and 3.
_MARKS = (".zgroup", ".zarray", "zarr.json")
_AXES = "tczyx"
_STACK_AXES = ("t", "z")
_RGB = ["FF0000", "00FF00", "0000FF"]


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder of Zarr, by what is in it or by its ending."""
    return path.is_dir() and (
        path.suffix.lower() == ZARR_SUFFIX or any((path / mark).is_file() for mark in _MARKS)
    )


class ZarrRaster(Raster):
    """A level of an image; the largest one unless another is asked for."""

    def __init__(self, path: Path, level: int = 0, *, stacks: bool = False) -> None:
        """
        Args:
            path: folder of the image's group.
            level: of its pyramid, from 0.
            stacks: whether it may have several planes.

        Raises:
            DataError: it is not an image of OME-Zarr, is a stack and should not be, lacks its
                pixels or that level, or zarr is not installed. zarr raises other errors too.
        """
        group, about = _image_group(path)
        #: Of the metadata, "0.4" or "0.5".
        self.version = "0.5" if "ome" in group.attrs else "0.4"
        multiscale = about["multiscales"][0]
        self._axes, units = _axes(path, multiscale)
        datasets = multiscale["datasets"]
        if not 0 <= level < len(datasets):
            raise DataError(f"{path} has the levels 0..{len(datasets) - 1}, not --level {level}")
        self._levels = [_array(path, group, entry["path"]) for entry in datasets[level:]]
        for array in self._levels:
            if array.ndim != len(self._axes):
                raise DataError(
                    f"{path}: an array has {array.ndim} dimensions, and the axes are {self._axes}"
                )
        array = self._levels[0]
        sizes = dict(zip(self._axes, array.shape))
        colours = [
            str(channel.get("color")).upper().lstrip("#") for channel in _channels_shown(about)
        ]
        channels = sizes.get("c", 1)
        super().__init__(
            str(path),
            (sizes["y"], sizes["x"], channels),
            np.uint8 if array.dtype == bool else array.dtype.newbyteorder("="),
            is_colour=channels == 1 or (colours == _RGB and array.dtype == np.uint8),
            micrometres=_pixel_size(multiscale, datasets[level], self._axes, units),
        )
        self.stack = {axis: sizes[axis] for axis in _STACK_AXES if sizes.get(axis, 1) > 1}
        if not stacks:
            self.check_is_no_stack()
        _check_chunks(path, array)
        self.steps = {
            axis: (_scale(multiscale, datasets[level], self._axes, axis), units[axis])
            for axis in self.stack
        }
        self.channel_names = [str(c.get("label", "")) for c in _channels_shown(about)]
        self._use(0)

    @property
    def level_sizes(self) -> list[tuple[int, int]]:
        """Height and width of the level that is read, and of those below it."""
        y, x = self._axes.index("y"), self._axes.index("x")
        return [(array.shape[y], array.shape[x]) for array in self._levels]

    def _use(self, level: int) -> None:
        self._array = self._levels[level]
        self.height, self.width = self.level_sizes[level]

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        place = {"y": slice(top, bottom), "x": slice(left, right)}

        def take(channel: int) -> np.ndarray:
            index = {"c": channel, **self.place, **place}
            return np.asarray(self._array[tuple(index.get(axis, 0) for axis in self._axes)])

        seen = np.stack([take(channel) for channel in self.channels], axis=-1)
        if seen.dtype == bool:
            return seen.astype(np.uint8) * 255
        return seen.astype(self.dtype, copy=False)

    def _shrunk(self, largest: int) -> np.ndarray:
        """See :meth:`Raster.thumbnail`; of a smaller level where there is one."""
        sides = [max(size) for size in self.level_sizes]
        smaller = copy.copy(self)
        smaller._use(max((k for k, side in enumerate(sides) if side >= largest), default=0))
        return Raster._shrunk(smaller, largest)

    def close(self) -> None: ...


def import_zarr(path: Path) -> Any:
    """The package zarr.

    Raises:
        DataError: it is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise DataError(f"{path} needs zarr: pip install 'maskrcnnpp[zarr]'") from error
    return zarr


def _image_group(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The group of an image and its OME metadata."""
    zarr = import_zarr(path)
    if not any((path / mark).is_file() for mark in _MARKS):
        raise DataError(f"{path} is not Zarr: it has none of {', '.join(_MARKS)}")
    if (path / "zarr.json").is_file() and int(zarr.__version__.split(".")[0]) < 3:
        raise DataError(
            f"{path} is of Zarr 3 (OME-NGFF 0.5), which needs Python 3.11 and zarr 3; this is "
            f"zarr {zarr.__version__}"
        )
    group = zarr.open(str(path), mode="r")
    if not isinstance(group, zarr.Group):
        raise DataError(f"{path} is an array of Zarr without OME metadata: give the image's folder")
    about = group.attrs.get("ome", dict(group.attrs))
    if about.get("multiscales"):
        return group, about
    if "plate" in about or "well" in about:
        kind = "plate" if "plate" in about else "well"
        raise DataError(f"{path} is a {kind}: give the folders of its images, such as {path}/A/1/0")
    images = [n for n in ("0", "1") if isinstance(group.get(n), zarr.Group)]
    if images == ["0"]:  # as bioformats2raw writes one image
        return _image_group(path / "0")
    if images:
        raise DataError(f"{path} holds several images: give their folders, such as {path}/0")
    raise DataError(
        f"{path} is Zarr, but not OME-Zarr: its metadata have no multiscales. Write it with "
        "ngff-zarr or bioformats2raw, or save it as TIFF"
    )


def _axes(path: Path, multiscale: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Names of the axes in order, and units by name."""
    entries = multiscale.get("axes")
    if not entries:
        raise DataError(
            f"{path} names no axes, as OME-NGFF before 0.4: write it again, as 0.4 or 0.5"
        )
    about = [entry if isinstance(entry, Mapping) else {"name": entry} for entry in entries]
    names = [str(entry["name"]) for entry in about]
    unknown = [name for name in names if name not in list(_AXES)]
    if unknown or len(set(names)) < len(names) or not {"y", "x"} <= set(names):
        raise DataError(f"{path} has the axes {', '.join(names)}; known are t, c, z, y and x")
    return "".join(names), {entry["name"]: str(entry.get("unit", "")) for entry in about}


def _array(path: Path, group: Any, name: str) -> Any:
    try:
        return group[name]
    except KeyError as error:
        raise DataError(f"{path} lacks its array {name}: copy the folder again, whole") from error


def _check_chunks(path: Path, array: Any) -> None:
    """Writers leave out chunks of zeros, and so nobody can tell them from those that were lost."""
    there, expected = array.nchunks_initialized, array.nchunks
    if shards := getattr(array, "shards", None):  # files that hold several chunks, also of zeros
        inside = math.prod(shard // chunk for shard, chunk in zip(shards, array.chunks))
        there = -(-there // inside)
        expected = math.prod(-(-size // shard) for size, shard in zip(array.shape, shards))
    if there == 0:
        raise DataError(f"{path} has none of its chunks: copy the folder again, whole")
    if there < expected:
        logger.warning(
            "%s has %d of %d chunks; the rest is read as %s. Writers leave out empty chunks, but "
            "if the image should have no empty part, the folder is not whole",
            *(printable(path), there, expected, array.fill_value),
        )


def _channels_shown(about: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    omero = about.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    return [c for c in channels or () if isinstance(c, Mapping)]


def _pixel_size(
    multiscale: Mapping[str, Any], dataset: Mapping[str, Any], axes: str, units: Mapping[str, str]
) -> float | None:
    """Micrometres a pixel; None where the metadata do not say, or it is oblong."""
    try:
        sides = []
        for axis in "xy":
            sides.append(_scale(multiscale, dataset, axes, axis) * MICROMETRES[units[axis]])
        return side_of_square(sides[0], sides[1])
    except (LookupError, TypeError):  # no metadata is worth an image
        return None


def _scale(
    multiscale: Mapping[str, Any], dataset: Mapping[str, Any], axes: str, axis: str
) -> float:
    """Distance of pixels or planes along an axis, in its unit."""
    factors = [
        transform["scale"][axes.index(axis)]
        for entry in (multiscale, dataset)
        for transform in entry.get("coordinateTransformations", ())
        if transform["type"] == "scale"
    ]
    return math.prod(factors)
