"""A mask inside its box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskrcnnpp.masks.rle import Rle, encode_crop, runs_of_object


@dataclass(frozen=True)
class Crop:
    """A mask of an image, known inside a window and empty outside it."""

    top: int  #: where the window's first pixel is in the image, pixels
    left: int
    pixels: np.ndarray  #: bool (h, w)

    @property
    def bottom(self) -> int:
        """Row behind the window's last one."""
        return self.top + self.pixels.shape[0]

    @property
    def right(self) -> int:
        """Column behind the window's last one."""
        return self.left + self.pixels.shape[1]

    @classmethod
    def of_rle(cls, rle: Rle) -> Crop:
        """A mask in its tight box, without an array of the whole image.

        Args:
            rle: as :func:`maskrcnnpp.masks.parse.checked_rle` gives it, of one pixel at least.
        """
        starts, lengths = runs_of_object(rle)
        ends = np.cumsum(lengths)
        pixels = np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
        columns, rows = np.divmod(pixels, rle["size"][0])
        top, left = int(rows.min()), int(columns[0])
        crop = np.zeros((int(rows.max()) - top + 1, int(columns[-1]) - left + 1), dtype=bool)
        crop[rows - top, columns - left] = True
        return cls(top, left, crop)

    def rle(self, height: int, width: int) -> Rle:
        """The mask as COCO RLE of an image of this size, in which the window lies."""
        return encode_crop(self.pixels, self.top, self.left, height, width)

    def of(self, image: np.ndarray) -> np.ndarray:
        """The window's part of an array of the image, as a view."""
        return image[self.top : self.bottom, self.left : self.right]

    def tight(self) -> Crop | None:
        """The same mask in its tight box; None where it has no pixel."""
        rows, columns = (np.flatnonzero(self.pixels.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        pixels = self.pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return Crop(self.top + int(rows[0]), self.left + int(columns[0]), pixels)

    def within(self, top: int, left: int, bottom: int, right: int) -> Crop | None:
        """The part of the mask in a rectangle, relative to its corner; None if it has no pixel."""
        first, begin = max(self.top, top), max(self.left, left)
        last, end = min(self.bottom, bottom), min(self.right, right)
        if first >= last or begin >= end:
            return None
        rows = slice(first - self.top, last - self.top)
        pixels = self.pixels[rows, begin - self.left : end - self.left]
        return Crop(first - top, begin - left, pixels) if pixels.any() else None
