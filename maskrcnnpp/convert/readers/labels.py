"""Reader of label images: 0 is background, every other number is an object.

    images/a.tif and labels/a.tif            two folders, one with a name for images, one for labels
    a.tif and a_masks.tif                    side by side, told apart by an ending
    a_img.png and a_masks.png, a_seg.npy     the same, as Cellpose has them
    a.png and a.png.labels.tif               what this project writes
    a list (CSV): image,labels               any names

TIFF, PNG, BMP or NPY, of 8, 16 or 32 bits. Labels may skip numbers. A label image without objects
is an image without objects. A label image of one value in many pieces is a foreground mask, which
the layout ``binary`` reads.
"""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Callable, Iterable

import numpy as np

from maskrcnnpp.convert.pairing import Pair
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.readers.decode import check_size, decode_pair
from maskrcnnpp.convert.readers.decode_labels import decode_labels
from maskrcnnpp.convert.readers.label_names import find_pairs
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.companions import LABEL_ENDINGS
from maskrcnnpp.masks.labels import label_masks
from maskrcnnpp.masks.pieces import doubt_of
from maskrcnnpp.masks.rle import Rle


class LabelsReader(Reader):
    """Images with label images."""

    def __init__(
        self,
        source: str | os.PathLike,
        problems: ProblemLog,
        *,
        label_ending: str | None = None,
        pairs: str | os.PathLike | None = None,
    ) -> None:
        """
        Args:
            source, problems: see :class:`Reader`.
            label_ending: such as "_masks": what a label image is called beside its image. None
                looks for those of :data:`LABEL_ENDINGS` and for folders of
                :data:`LABEL_FOLDERS`; see :mod:`maskrcnnpp.convert.readers.label_names`.
            pairs: CSV with the columns ``image`` and ``labels``, names in the source.

        Raises:
            DataError: see :class:`Reader`; or the list cannot be read.
        """
        super().__init__(source, problems)
        with FileSource(source) as files:
            there = list_files(files, problems)
        if pairs is not None:
            found, unpaired = read_pairs(pairs, there), []
        else:
            found, unpaired = find_pairs(there, [label_ending] if label_ending else LABEL_ENDINGS)
        self._take_pairs(found, unpaired)
        self._require_entries(
            "holds no image with a label image; put them into images/ and labels/ "
            "under the same name, or name the ending, such as --label-ending _masks, or list "
            "them with --pairs"
        )

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        """Whether the files of a source look like this layout."""
        return any(find_pairs(names, LABEL_ENDINGS))

    @property
    def decoder(self) -> Decoder:
        return decode_labelled

    def _settled(self, sample: Sample | None, problems: list[Problem]) -> Result:
        doubts = [problem for problem in problems if problem.scope == "doubt"]
        if not doubts or self._has_label_images:
            return super()._settled(sample, problems)
        return None, [problem._replace(scope="image") for problem in doubts]

    @functools.cached_property
    def _has_label_images(self) -> bool:
        """Whether one at least is beyond doubt: several labels, most of them in one piece."""
        with FileSource(self.source) as files:
            return any(_is_label_image(files, pair.annotation) for pair in self._entries.values())


def read_pairs(path: str | os.PathLike, there: Iterable[str]) -> list[tuple[str, str]]:
    """A list of images and label images.

    Raises:
        DataError: it cannot be read, has not the columns, or names a file that is not there.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(io.StringIO(file.read())))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the list cannot be read ({error})") from error
    if not rows or not {"image", "labels"} <= rows[0].keys():
        raise DataError(f'{path}: needs the columns "image" and "labels", and a row an image')
    there = set(there)
    for number, row in enumerate(rows, start=2):
        for name in (row["image"], row["labels"]):
            if name not in there:
                raise DataError(f"{path}, line {number}: {name!r} is not in the source")
    return [(row["image"], row["labels"]) for row in rows]


def _is_label_image(files: FileSource, name: str) -> bool:
    try:
        labels = decode_labels(files, name)
        return labels.max() > 1 and len(np.unique(labels)) > 2 and doubt_of(labels) is None
    except DataError:
        return False


def _check(labels: np.ndarray) -> Iterable[tuple[str, str]]:
    """A doubt about a label image, where there is one."""
    doubt = doubt_of(labels)
    if doubt is not None and doubt.is_sure:
        raise DataError(doubt.reason)
    return [("doubt", doubt.reason)] if doubt else []


def decode_labelled(
    files: FileSource,
    pair: Pair,
    *,
    check: Callable[[np.ndarray], Iterable[tuple[str, str]]] = _check,
) -> Result:
    """An image and its label image; all objects are nuclei.

    Args:
        files, pair: see :data:`Decoder`.
        check: gives what is to be said of a label image, scope and reason, or raises a DataError.
    """

    def annotated(pixels: np.ndarray) -> tuple[list[Rle], None, list[Problem]]:
        labels = decode_labels(files, pair.annotation)
        check_size(labels.shape, pixels, pair.image)
        told = check(labels)
        problems = [Problem(scope, pair.name, pair.annotation, reason) for scope, reason in told]
        return label_masks(labels)[1], None, problems

    return decode_pair(files, pair, annotated)
