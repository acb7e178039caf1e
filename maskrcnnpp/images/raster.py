"""An image that need not fit into memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np

from maskrcnnpp.errors import DataError, first_line

#: Pixels of an image that is read as a whole.
LARGEST = 2**29
_BLOCK = 2048  # pixels a side of what is read at a time where all of an image is looked at
_RESIZED_AS_IS = (np.uint8, np.uint16, np.int16, np.float32)  # by OpenCV


class Kind(NamedTuple):
    """Kind of an image, as far as its header tells it.

    Attributes:
        dtype: of its pixels.
        channels: how many there are, alpha too.
        is_colour: see :class:`Raster`.
        is_first: whether it is what Detectron2 takes of a file that holds several images.
        orientation: see :class:`Raster`.
    """

    dtype: str
    channels: int
    is_colour: bool = True
    is_first: bool = True
    orientation: int = 1


class Raster(ABC):
    """An image of height x width x channels, of which regions are read.

    To be closed, or used as a context manager, as a file is.
    """

    #: Of the channels, where the file names them.
    channel_names: Sequence[str] = ()
    #: How the pixels were turned, by the number that EXIF has for it; 1 is not at all.
    orientation = 1
    #: Of a stack: how many planes it has along "t" and "z", or one of them, in this order.
    stack: Mapping[str, int] = {}
    #: Of these axes: how far apart planes are, and in which unit, where that is known.
    steps: Mapping[str, tuple[float, str]] = {}
    #: The plane that is read, from 0: all of z at the first t, then at the next.
    plane = 0
    _if_channels = ""  # what to do if it was not meant as a stack

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        *,
        is_colour: bool,
        micrometres: float | None = None,
    ) -> None:
        """
        Args:
            name: for messages, such as the path of the file.
            shape: height, width and channels of all that is there.
            dtype: of its pixels, any number type.
            is_colour: whether the channels are grey, or red, green, blue and perhaps alpha.
            micrometres: side of a pixel, where it is known.
        """
        self.name = name
        self.height, self.width, self._channels_there = shape
        self.dtype = np.dtype(dtype)
        self.is_colour = is_colour
        self.micrometres = micrometres
        self.channels: Sequence[int] = range(self._channels_there)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of the chosen channels."""
        return self.height, self.width, len(self.channels)

    def choose(self, channels: Sequence[int] | None) -> None:
        """Read these channels from now on.

        Args:
            channels: from 0, in the order in which they are wanted. None takes grey and colour
                as they are, without alpha.

        Raises:
            DataError: it has not these channels, or they have to be named.
        """
        there = self._channels_there
        if channels is None and self.is_colour and there <= 4:
            channels = range(3 if there > 2 else 1)
        if channels is None and there == 1:
            channels = [0]
        if channels is None:
            names = f" ({', '.join(self.channel_names)})" if any(self.channel_names) else ""
            raise DataError(
                f"{self.name} has {there} channels{names}; choose some of 0..{there - 1} with "
                "--channels, such as --channels 0 for the first as a grey image, or in a training "
                "with INPUT.CHANNELS"
            )
        if len(channels) == 0:
            raise DataError(f"{self.name}: no channel is chosen")
        if not all(0 <= channel < there for channel in channels):
            raise DataError(f"{self.name} has channels 0..{there - 1}, not all of {list(channels)}")
        self.channels = channels

    @property
    def planes(self) -> int:
        """How many there are, all axes of the stack together; 1 for other images."""
        return math.prod(self.stack.values())

    @property
    def place(self) -> dict[str, int]:
        """Where the plane that is read lies on the axes of the stack, from 0."""
        index = np.unravel_index(self.plane, tuple(self.stack.values()))
        return {axis: int(number) for axis, number in zip(self.stack, index)}

    @property
    def where(self) -> dict[str, int]:
        """Place of the plane among others: its number as ``plane``, or ``t`` and ``z``, from 0."""
        return self.place if len(self.stack) > 1 else {"plane": self.plane}

    def check_is_no_stack(self) -> None:
        """Check that the image has one plane.

        Raises:
            DataError: it has more. The message names the axes.
        """
        if self.stack:
            axes = {**self.stack, "c": self._channels_there, "y": self.height, "x": self.width}
            shown = ", ".join(f"{axis} {size}" for axis, size in axes.items())
            raise DataError(
                f"{self.name} is a stack with the axes {shown}, and an image is y, x and channels: "
                "predict its planes with --planes all, or save them one by one"
                f"{self._if_channels}"
            )

    def region(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Pixels of a rectangle inside the image, (bottom - top, right - left, channels).

        Raises:
            DataError: the file is damaged there. The message names it.
        """
        plane = f"plane {self.plane}, " if self.stack else ""
        with self._named(f"{plane}rows {top} to {bottom}, columns {left} to {right}"):
            return self._read(top, left, bottom, right)

    def whole(self) -> np.ndarray:
        """All pixels, (height, width, channels).

        Raises:
            DataError: the file is damaged, or the image has more than :data:`LARGEST` pixels.
        """
        self.check_size()
        return self.region(0, 0, self.height, self.width)

    def check_size(self) -> None:
        """Check that the image may be read as a whole.

        Raises:
            DataError: it has more than :data:`LARGEST` pixels.
        """
        if self.height * self.width > LARGEST:
            raise DataError(
                f"{self.name} is too large to be read as a whole: {self.width}x{self.height} "
                f"pixels, where {LARGEST} are the most; cut it in pieces"
            )

    def check_upright(self) -> None:
        """Check that the image was not turned: its annotations may be turned or not.

        Raises:
            DataError: it was.
        """
        if self.orientation != 1:
            raise DataError(to_be_turned(self.name, self.orientation))

    def blocks(self, side: int = _BLOCK) -> Iterator[tuple[int, int, np.ndarray]]:
        """All of the image in squares: top, left and pixels of each, row by row."""
        for top in range(0, self.height, side):
            for left in range(0, self.width, side):
                bottom, right = min(top + side, self.height), min(left + side, self.width)
                yield top, left, self.region(top, left, bottom, right)

    def thumbnail(self, largest: int) -> np.ndarray:
        """The image, made smaller by averaging where a side has more than ``largest`` pixels.

        Returns:
            (height, width, channels), of the image's dtype where OpenCV can average that, float32
            otherwise.

        Raises:
            DataError: the file is damaged.
        """
        with self._named("a smaller version"):
            return self._shrunk(largest)

    def _shrunk(self, largest: int) -> np.ndarray:
        """:meth:`thumbnail`, which may raise anything."""
        factor = math.ceil(max(self.height, self.width) / largest)
        if factor <= 1:
            return self.region(0, 0, self.height, self.width)
        size = math.ceil(self.height / factor), math.ceil(self.width / factor)
        small: np.ndarray | None = None
        for top, left, pixels in self.blocks(max(_BLOCK // factor, 1) * factor):
            height, width = (math.ceil(length / factor) for length in pixels.shape[:2])
            part = shrunk(pixels, height, width)
            if small is None:
                small = np.empty((*size, part.shape[2]), part.dtype)
            row, column = top // factor, left // factor
            small[row : row + height, column : column + width] = part
        return small

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Errors of decoders, which raise what they like, as one that names the file."""
        try:
            yield
        except (DataError, MemoryError):
            raise
        except Exception as error:
            raise DataError(
                f"{self.name} is damaged: {what} cannot be read: {first_line(error)}"
            ) from error

    @abstractmethod
    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """:meth:`region`, which may raise anything."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file. Nothing can be read any more."""

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ArrayRaster(Raster):
    """An image in memory."""

    def __init__(self, pixels: np.ndarray, *, name: str = "the image", **about) -> None:
        """
        Args:
            pixels: (height, width, channels).
            name, about: as for :class:`Raster`.
        """
        about.setdefault("is_colour", True)
        super().__init__(name, pixels.shape, pixels.dtype, **about)
        self._pixels = pixels

    def _read(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        pixels = self._pixels[top:bottom, left:right]
        whole = list(self.channels) == list(range(pixels.shape[2]))
        return pixels if whole else pixels[..., list(self.channels)]

    def close(self) -> None:
        del self._pixels


def to_be_turned(name: object, orientation: int) -> str:
    """Message for an image that is not stored the way it is seen."""
    return (
        f"{name} is to be turned or mirrored before it is looked at (its orientation tag is "
        f"{orientation}): save it the way it is seen, without the tag; or, if annotations are of "
        "the pixels as they are stored, remove the tag alone"
    )


def shrunk(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Averaged to another, smaller size. (H, W, channels) in and out."""
    if pixels.dtype not in _RESIZED_AS_IS:
        pixels = pixels.astype(np.float32)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return small.reshape(height, width, -1)
