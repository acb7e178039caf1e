"""Whole slides of the makers' formats, through OpenSlide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from maskrcnnpp.data.image_io.raster import Raster
from maskrcnnpp.errors import DataError

#: Aperio, Hamamatsu, Mirax, Leica, Philips (as .tiff: see tiff.py), Sakura, Ventana.
SLIDE_SUFFIXES = (".svs", ".ndpi", ".vms", ".vmu", ".mrxs", ".scn", ".svslide", ".bif")


class SlideRaster(Raster):
    """The largest level of a slide, 8-bit RGB. Where nothing was scanned it is white."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DataError: OpenSlide is not installed. OpenSlide raises its own errors.
        """
        try:
            from openslide import OpenSlide
        except ImportError as error:
            raise DataError(
                f"{path} is a slide, which needs OpenSlide: pip install 'maskrcnnpp[slides]'"
            ) from error
        self._slide = OpenSlide(path)
        width, height = self._slide.dimensions
        size = self._slide.properties.get("openslide.mpp-x")
        super().__init__(
            str(path),
            (height, width, 3),
            np.uint8,
            is_colour=True,
            micrometres=float(size) if size else None,
        )

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        size = right - left, bottom - top
        pixels = np.asarray(_on_white(self._slide.read_region((left, top), 0, size)))
        return pixels if list(self.channels) == [0, 1, 2] else pixels[..., list(self.channels)]

    def _shrunk(self, largest: int) -> np.ndarray:
        """See :meth:`Raster.thumbnail`; of a smaller level where the slide has one."""
        small = np.asarray(self._slide.get_thumbnail((largest, largest)).convert("RGB"))
        return small[..., list(self.channels)]

    def close(self) -> None:
        self._slide.close()


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white
