"""Reader of PanNuke: all images of a fold in one array, their objects in another.

    images.npy    (N, height, width, 3)    0 to 255, uint8 or integers as floats
    masks.npy     (N, height, width, 6)    an instance map a class, and the background

One to three folds, as they are unpacked (``Fold 1/images/fold1/images.npy`` and
``Fold 1/masks/fold1/masks.npy``) or with both files in one folder. ``types.npy``, the tissues, are
not read. The arrays have several GB: only the image that is looked at is read, which needs a folder
rather than a zip archive.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode import as_labels
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError, first_line
from maskrcnnpp.images import encode_image
from maskrcnnpp.masks.labels import label_masks

CLASSES = ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial")

_KINDS = ("images", "masks")
_FOLD = re.compile(r"fold[ _-]?(\d+)", re.IGNORECASE)


class _Entry(NamedTuple):
    """An image: its name, the arrays as the source names them, and its place in them."""

    name: str
    images: str
    masks: str
    index: int


class _Fold(NamedTuple):
    """The arrays of a fold, as the source names them, and how many images they hold."""

    images: str
    masks: str
    count: int


class PannukeReader(Reader):
    """The images and objects of one or more folds. Images are called such as "fold1_00012"."""

    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]

    def __init__(self, source: str | os.PathLike, problems: ProblemLog) -> None:
        super().__init__(source, problems)
        with FileSource(source) as files:
            self._find(files, _arrays(list_files(files, problems)))
        self._require_entries(
            "holds no images.npy with a masks.npy; name the folder that the folds "
            "of PanNuke were unpacked into"
        )

    def _find(self, files: FileSource, arrays: dict[str, dict[str, list[str]]]) -> None:
        """Take up the images of all folds."""
        is_folder = files.path.is_dir()
        if not is_folder and any(len(found) == 2 for found in arrays.values()):
            raise DataError(
                f"{files.path}: the arrays of PanNuke are too large to be read in an archive; "
                "unpack it, and name the folder"
            )
        taken: dict[str, str] = {}
        for place, found in arrays.items():
            fold = _fold(files, found)
            name = _fold_name(place)
            if isinstance(fold, _Fold) and name in taken:
                reason = f"is called {name}, as {taken[name]} is; rename its folder"
                fold = Problem("file", "", fold.images, reason)
            if isinstance(fold, Problem):
                self.problems.add(fold)
                continue
            taken[name] = fold.images
            for index in range(fold.count):
                image = f"{name}_{index:05}"
                self._entries[image] = _Entry(image, fold.images, fold.masks, index)

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        return any(len(found) == 2 for found in _arrays(names).values())

    @property
    def decoder(self) -> Decoder:
        return _decode


def _arrays(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """By place without ``images`` and ``masks``, the files of each of the two kinds."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix == ".npy" and path.stem in _KINDS:
            place = "/".join(part for part in path.parts[:-1] if part.lower() not in _KINDS)
            found.setdefault(place, {}).setdefault(path.stem, []).append(name)
    return found


def _fold(files: FileSource, found: dict[str, list[str]]) -> _Fold | Problem:
    """The arrays of a place, or why they are no fold."""
    file = next(iter(found.values()))[0]
    try:
        for kind, other in (_KINDS, _KINDS[::-1]):
            if kind not in found:
                raise DataError(f"has no {kind}.npy beside this {other}.npy; add it")
            if len(found[kind]) > 1:
                raise DataError(f"is there twice: {' and '.join(found[kind])}; keep one")
        images, masks = found["images"][0], found["masks"][0]
        file = images
        size = _size(files, images, 3)
        file = masks
        if _size(files, masks, 6) != size:
            raise DataError(f"is not of the images of {images}, which are {_by(size)}")
        return _Fold(images, masks, size[0])
    except DataError as error:
        return Problem("file", "", file, str(error))


def _fold_name(place: str) -> str:
    numbers = _FOLD.findall(place)
    return f"fold{numbers[-1]}" if numbers else "image"


def _size(files: FileSource, name: str, channels: int) -> tuple[int, int, int]:
    """Number, height and width of the images in an array.

    Raises:
        DataError: it cannot be read, or is of another kind.
    """
    array = _open(files, name)
    if not isinstance(array, np.ndarray):
        raise DataError("is an archive of arrays (.npz), not one array; take it out")
    if array.ndim != 4 or array.shape[3] != channels or 0 in array.shape[1:]:
        raise DataError(f"is {_by(array.shape)}, not N x height x width x {channels}")
    if array.dtype.kind not in "iuf":
        raise DataError(f"is of type {array.dtype}; integers or floats are needed")
    return array.shape[:3]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _open(files: FileSource, name: str) -> np.ndarray:
    """An array of the source, of which nothing is read yet."""
    try:
        return np.load(files.path / name, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # ValueError of what is not an array, or pickled; EOFError, OSError
        raise DataError(
            f"is not an array of numbers, or cut short ({first_line(error)})"
        ) from error


def _decode(files: FileSource, entry: _Entry) -> Result:
    file = entry.images
    try:
        # opened for every image: what was read before then takes no memory
        image = _as_image(np.array(_open(files, file)[entry.index]))
        file = entry.masks
        maps = np.array(_open(files, file)[entry.index, :, :, : len(CLASSES)])
        found = [label_masks(as_labels(maps[..., channel]))[1] for channel in range(len(CLASSES))]
    except DataError as error:
        reason = f"image {entry.index}: {error}"
        return None, [Problem("image", entry.name, file, reason)]
    content, suffix = encode_image(image)
    sample = Sample(
        name=entry.name,
        image=content,
        suffix=suffix,
        height=image.shape[0],
        width=image.shape[1],
        masks=tuple(mask for masks in found for mask in masks),
        category_ids=tuple(number for number, masks in enumerate(found, start=1) for _ in masks),
        stain="histology",
    )
    return sample, []


def _as_image(pixels: np.ndarray) -> np.ndarray:
    """uint8, (height, width, 3)."""
    if pixels.dtype == np.uint8:
        return pixels
    if not ((pixels >= 0) & (pixels <= 255)).all() or (pixels != np.round(pixels)).any():
        low, high = pixels.min(), pixels.max()
        raise DataError(
            f"has values that are no integers from 0 to 255 (from {low:g} to {high:g}); undo what "
            "was done to them, such as a division by 255"
        )
    return pixels.astype(np.uint8)
