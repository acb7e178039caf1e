"""CZI of Zeiss, LIF of Leica and ND2 of Nikon, through bioio."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.errors import DataError
from maskrcnnpp.images.pixel_size import side_of_square
from maskrcnnpp.images.raster import Raster

_READERS = {".czi": "bioio_czi", ".lif": "bioio_lif", ".nd2": "bioio_nd2"}
MICROSCOPE_SUFFIXES = tuple(_READERS)
_NAMED = 12  # scenes that a message names


class MicroscopeRaster(Raster):
    """A scene of a file, of which a plane at a time is read and kept. Tiles of a mosaic are joined.

    Pixel sizes are micrometres, as the readers of bioio give them.
    """

    def __init__(
        self,
        path: Path,
        content: bytes | None = None,
        *,
        scene: str | None = None,
        stacks: bool = False,
    ) -> None:
        """
        Args:
            path, content, scene, stacks: see :func:`maskrcnnpp.images.files.open_all_channels`.

        Raises:
            DataError: it lies in an archive, is a stack and should not be, has several scenes of
                which none is chosen, has axes that are not known, or bioio is not installed.
                Readers raise their own errors.
        """
        if content is not None:
            raise DataError(f"{path} lies in an archive: unpack it first")
        suffix = path.suffix.lower()
        try:
            from bioio import BioImage

            reader = importlib.import_module(_READERS[suffix]).Reader
        except ImportError as error:
            package = _READERS[suffix].replace("_", "-")
            python = ", with Python 3.11 or newer" if suffix == ".lif" else ""
            raise DataError(
                f"{path} needs {package}: pip install 'maskrcnnpp[bioio]'{python}"
            ) from error
        reader(path)  # says in a line what is wrong with a file, which BioImage logs as well
        self._image = BioImage(path, reader=reader)
        self._image.set_scene(_number_of(scene, self._image.scenes, path))
        sizes = dict(zip(self._image.dims.order, self._image.dims.shape))
        channels, samples = sizes.get("C", 1), sizes.get("S", 0)
        if not set(sizes) <= set("TCZYXS") or (samples and channels > 1):
            shown = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
            raise DataError(
                f"{path} has the axes {shown}; T, Z, C, Y and X are read, or S, of colours, in the "
                "place of C: save it as TIFF with these alone"
            )
        super().__init__(
            str(path),
            (sizes["Y"], sizes["X"], samples or channels),
            self._image.dtype,
            is_colour=bool(samples) or channels == 1,
        )
        self.stack = {axis.lower(): sizes[axis] for axis in "TZ" if sizes.get(axis, 1) > 1}
        if not stacks:
            self.check_is_no_stack()
        self._has_samples = bool(samples)
        self._is_bgr = suffix == ".czi"  # as it is stored, and as bioio-czi gives it
        self._kept: tuple[tuple, np.ndarray] | None = None
        self._read_metadata()

    def _read_metadata(self) -> None:
        try:
            side = self._image.physical_pixel_sizes
            self.micrometres = side_of_square(side.X or 0.0, side.Y or 0.0)
            if "z" in self.stack and side.Z:
                self.steps = {"z": (float(side.Z), "micrometer")}
            self.channel_names = [str(name) for name in self._image.channel_names or ()]
        except Exception:  # no metadata is worth an image
            pass

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        key = self.plane, tuple(self.channels)
        if self._kept is None or self._kept[0] != key:
            self.check_size()
            self._kept = None  # not two at a time
            self._kept = key, self._plane()
        return self._kept[1][top:bottom, left:right]

    def _plane(self) -> np.ndarray:
        """The chosen channels of a plane, (height, width, channels)."""
        if not self._has_samples:
            return np.stack([self._take("YX", channel) for channel in self.channels], axis=-1)
        pixels = self._take("YXS", 0)
        return (pixels[..., ::-1] if self._is_bgr else pixels)[..., list(self.channels)]

    def _take(self, axes: str, channel: int) -> np.ndarray:
        where: dict[str, Any] = {"T": 0, "Z": 0, "C": channel}
        where |= {axis.upper(): number for axis, number in self.place.items()}
        if "M" in self._image.reader.dims.order:  # all of a mosaic would be read, not a plane
            return self._image.get_image_dask_data(axes, **where).compute()
        return self._image.get_image_data(axes, **where)

    def close(self) -> None:
        self._kept = None


def _number_of(scene: str | None, scenes: Sequence[str], path: Path) -> int:
    """The number of a scene, by its name or number.

    Raises:
        DataError: there is no such scene, or several and none is named.
    """
    shown = ", ".join(f"{k} {name}" for k, name in enumerate(scenes[:_NAMED]))
    shown += ", ..." if len(scenes) > _NAMED else ""
    if scene is None:
        if len(scenes) > 1:
            raise DataError(
                f"{path} holds {len(scenes)} scenes ({shown}): choose one with --scene, by its "
                "name or number"
            )
        return 0
    if scene in scenes:
        return list(scenes).index(scene)
    if scene.isdecimal() and int(scene) < len(scenes):
        return int(scene)
    raise DataError(f"{path} has no scene {scene}; it has {shown}")
