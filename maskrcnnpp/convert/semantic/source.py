"""Images and their label images, as semantic data sets come: pictures, TIFF stacks, NIfTI volumes.

``read_source`` gives them one by one. What the raw values of a label image mean is not known here;
see :mod:`maskrcnnpp.convert.semantic.write`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskrcnnpp.convert.semantic.pictures import (
    check_finite,
    one_channel,
    read_picture,
    read_raw_picture,
    read_stack,
    to_bytes,
)
from maskrcnnpp.convert.semantic.volumes import AXES, NIFTI_SUFFIXES, is_nifti, read_volumes
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images.plain import PLAIN_SUFFIXES
from maskrcnnpp.images.tiff import TIFF_SUFFIXES

_SUFFIXES = (*NIFTI_SUFFIXES, *PLAIN_SUFFIXES, *TIFF_SUFFIXES)
# of names of NIfTI files: what tells image and label apart, not one patient from another
_KIND_BEFORE = re.compile(r"^(volume|segmentation)-", re.IGNORECASE)
_KIND_BEHIND = re.compile(
    r"[-_](0000|seg|segmentation|label|mask|t1|t1ce|t1gd|t1c|t1n|t2|t2w|t2f|flair)$", re.IGNORECASE
)
_SHOWN = 3


class SemanticItem(NamedTuple):
    """An image and its label image."""

    name: str
    #: (height, width) or (height, width, 3); uint8 or another type of numbers.
    image: np.ndarray
    #: Integers of any type (height, width): the values that the file has.
    raw: np.ndarray
    #: What images that belong together share, such as a patient; None for one by itself.
    group: str | None
    #: For messages.
    image_file: str
    label_file: str


class Pair(NamedTuple):
    """A file of images and that of their labels."""

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Reading:
    """How values become pictures.

    Attributes:
        axis: of NIfTI volumes, across which they are cut into slices: 0 from left to right, 1 from
            back to front, 2 from foot to head.
        window: level and width: level - width / 2 becomes 0, level + width / 2 255. None leaves
            pictures and TIFF as they are and takes the percentiles of each NIfTI volume.
        percentiles: of a whole NIfTI volume, that become 0 and 255; where they are equal, the
            smallest and the largest value do.
    """

    axis: int = 2
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: a value is impossible.
        """
        if self.axis not in range(AXES):
            raise ConfigError(f"--axis {self.axis}: a volume has the axes 0, 1 and 2")
        if self.window and not (np.isfinite(self.window).all() and self.window[1] > 0):
            raise ConfigError(f"--window {self.window[0]} {self.window[1]}: the width is above 0")

    def limits(self, values: np.ndarray) -> tuple[float, float]:
        """The two values of an image or volume that become 0 and 255."""
        if self.window:
            level, width = self.window
            return level - width / 2, level + width / 2
        low, high = np.percentile(values, self.percentiles)
        if low == high:  # nearly all is air
            low, high = values.min(), values.max()
        return float(low), float(high)


def read_source(
    images: Path, labels: Path, reading: Reading | None = None
) -> Iterator[SemanticItem]:
    """The images of a source, each when it is asked for.

    Args:
        images: a file, or a folder of them: PNG, JPEG, BMP, TIFF (a picture or a stack) or NIfTI.
        labels: of the same kind.
        reading: how to read; the default is that of :class:`Reading`.

    Yields:
        :class:`SemanticItem`.

    Raises:
        DataError: files do not match or cannot be used. The message names them.
    """
    pairs = find_pairs(Path(images), Path(labels))
    for pair in pairs:
        yield from read_pair(pair, reading or Reading(), is_only=len(pairs) == 1)


def find_pairs(images: Path, labels: Path) -> list[Pair]:
    """Files of images with those of their labels, sorted by name.

    Two files belong together; of two folders, files of the same name but for the ending. Of names
    of NIfTI files, ``volume-`` and ``segmentation-`` before and ``_0000``, ``_seg``,
    ``_segmentation``, ``_label``, ``_mask`` and BraTS's ``_t1ce``, ``_flair`` and so on behind (or
    with ``-``) are not looked at.

    Raises:
        DataError: a file has no partner, or two.
    """
    for path in (images, labels):
        if not path.exists():
            raise DataError(f"{path} does not exist; name a file or folder")
    if images.is_dir() != labels.is_dir():
        raise DataError(f"{images} and {labels}: name two files or two folders")
    if not images.is_dir():
        return [Pair(_key(images), images, labels)]
    of_images, of_labels = _files(images), _files(labels)
    for one, other, what in (
        (of_images, of_labels, f"images in {images} without a label image in {labels}"),
        (of_labels, of_images, f"label images in {labels} without an image in {images}"),
    ):
        alone = [one[key].name for key in one if key not in other]
        if alone:
            shown = ", ".join(alone[:_SHOWN]) + ", ..." * (len(alone) > _SHOWN)
            raise DataError(
                f"{len(alone)} {what}: {shown}; rename them so that the names match but for "
                "the ending, or move them away"
            )
    return [Pair(key, path, of_labels[key]) for key, path in of_images.items()]


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        _check_no_files_below(path)
        if path.name.startswith(".") or not path.name.lower().endswith(_SUFFIXES):
            continue
        if (key := _key(path)) in found:
            raise DataError(f"{folder}: {found[key].name} and {path.name} both stand for {key!r}")
        found[key] = path
    if not found:
        raise DataError(f"{folder} has no file that ends in one of {', '.join(_SUFFIXES)}")
    return found


def _check_no_files_below(path: Path) -> None:
    if path.is_dir() and not path.name.startswith("."):
        below = [one for one in sorted(path.rglob("*")) if one.name.lower().endswith(_SUFFIXES)]
        if below:
            raise DataError(
                f"{path.parent} has files in folders of its own, such as {below[0]}, which would "
                "be left out: put all into one folder"
            )


def _key(path: Path) -> str:
    if not is_nifti(path):
        return path.stem
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return _KIND_BEHIND.sub("", _KIND_BEFORE.sub("", stem)) or stem


def read_pair(pair: Pair, reading: Reading, *, is_only: bool = False) -> Iterator[SemanticItem]:
    """The images of a pair of files.

    Args:
        pair: the files.
        reading: how to read them.
        is_only: it is the whole source: the planes of its TIFF stack are no group.

    Raises:
        DataError: see :func:`read_source`.
    """
    if is_nifti(pair.image) != is_nifti(pair.label):
        raise DataError(f"{pair.image} and {pair.label}: one is NIfTI, the other is not")
    if is_nifti(pair.image):
        yield from _read_volume(pair, reading)
        return
    files = str(pair.image), str(pair.label)
    stack = read_stack(pair.image, is_label=False)
    label_stack = read_stack(pair.label, is_label=True)
    if (stack is None) != (label_stack is None):
        raise DataError(f"{files[0]} and {files[1]}: one is a stack of planes, the other is not")
    if stack is None:
        image = _as_picture(read_picture(pair.image), reading, files[0])
        yield SemanticItem(pair.name, image, read_raw_picture(pair.label), None, *files)
        return
    if len(stack) != len(label_stack):
        raise DataError(
            f"{files[0]} has {len(stack)} planes, {files[1]} {len(label_stack)}; they need as many"
        )
    for number, (plane, raw) in enumerate(zip(stack, label_stack)):
        name = f"{pair.name}_z{number:03d}"
        image = _as_picture(plane, reading, files[0])
        group = None if is_only else pair.name
        yield SemanticItem(name, image, one_channel(raw, files[1]), group, *files)


def _read_volume(pair: Pair, reading: Reading) -> Iterator[SemanticItem]:
    values, raw = read_volumes(pair.image, pair.label, reading.axis)
    limits = reading.limits(values)
    files = str(pair.image), str(pair.label)
    for number, (plane, labels) in enumerate(zip(values, raw)):
        name = f"{pair.name}_{'xyz'[reading.axis]}{number:03d}"
        yield SemanticItem(
            name, to_bytes(plane, limits), one_channel(labels, files[1]), pair.name, *files
        )


def _as_picture(pixels: np.ndarray, reading: Reading, file: str) -> np.ndarray:
    check_finite(pixels, file)
    return to_bytes(pixels, reading.limits(pixels)) if reading.window else pixels
