"""Whole slides of the makers' formats, through OpenSlide."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from PIL import Image

from maskrcnnpp.errors import DataError
from maskrcnnpp.images.raster import Raster

#: Aperio, Hamamatsu, Mirax, Leica, Sakura, Ventana.
SLIDE_SUFFIXES = (".svs", ".ndpi", ".vms", ".vmu", ".mrxs", ".scn", ".svslide", ".bif")


def is_slide(path: Path) -> bool:
    """Whether a TIFF is of a maker that OpenSlide knows. Without OpenSlide nobody knows: it is."""
    try:
        from openslide import OpenSlide
    except ImportError:
        return True
    return OpenSlide.detect_format(path) not in (None, "generic-tiff")


class SlideRaster(Raster):
    """The largest level of a slide, 8-bit RGB. Where nothing was scanned it is white.

    Of a slide that says which part was scanned (``openslide.bounds-x``, ...) that part, as QuPath
    shows it: its first pixel is (0, 0).
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """
        Raises:
            DataError: it lies in an archive, or OpenSlide is not installed. OpenSlide raises its
                own errors.
        """
        if content is not None:
            raise DataError(f"{path} is a slide in an archive: unpack it first")
        try:
            from openslide import OpenSlide
        except ImportError as error:
            raise DataError(
                f"{path} is a slide, which needs OpenSlide: pip install 'maskrcnnpp[slides]'"
            ) from error
        self._slide = OpenSlide(path)
        properties = self._slide.properties
        self._left, self._top, width, height = _bounds(properties, self._slide.dimensions)
        self._level, self._factor = 0, 1.0
        super().__init__(
            str(path),
            (height, width, 3),
            np.uint8,
            is_colour=True,
            micrometres=_number(properties.get("openslide.mpp-x")),
        )

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        # places are those of the largest level, sizes those of the level that is read
        place = (round(self._left + left * self._factor), round(self._top + top * self._factor))
        size = right - left, bottom - top
        pixels = np.asarray(_on_white(self._slide.read_region(place, self._level, size)))
        return pixels if list(self.channels) == [0, 1, 2] else pixels[..., list(self.channels)]

    def _shrunk(self, largest: int) -> np.ndarray:
        factor = max(self.height, self.width) / largest
        level = self._slide.get_best_level_for_downsample(max(factor, 1.0))
        smaller = copy.copy(self)
        smaller._level, smaller._factor = level, self._slide.level_downsamples[level]
        smaller.height = max(1, int(self.height / smaller._factor))
        smaller.width = max(1, int(self.width / smaller._factor))
        return Raster._shrunk(smaller, largest)

    def close(self) -> None:
        self._slide.close()


def _bounds(properties: dict[str, str], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of the part that was scanned."""
    found = [
        _number(properties.get(f"openslide.bounds-{k}")) for k in ("x", "y", "width", "height")
    ]
    if None in found:
        return 0, 0, *size
    left, top, width, height = map(int, found)
    fits = 0 <= left < left + width <= size[0] and 0 <= top < top + height <= size[1]
    return (left, top, width, height) if fits else (0, 0, *size)


def _number(text: str | None) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white
