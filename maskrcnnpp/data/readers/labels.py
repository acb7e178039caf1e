"""Reader of label images: 0 is background, every other number is an object.

    images/a.tif and labels/a.tif            two folders, one of which has a name for labels
    a.tif and a_masks.tif                    side by side, told apart by a suffix
    a list (CSV): image,labels               any names

TIFF, PNG, BMP or NPY, of 8, 16 or 32 bits. Labels may skip numbers. A label image without objects
is an image without objects.
"""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from maskrcnnpp.data.label_masks import label_masks
from maskrcnnpp.data.problems import Problem, ProblemLog
from maskrcnnpp.data.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.data.readers.decode import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    check_size,
    decode_image,
    decode_labels,
    make_sample,
)
from maskrcnnpp.data.readers.pairs import Pair, named_pairs
from maskrcnnpp.data.readers.source import FileSource
from maskrcnnpp.errors import DataError

#: Names of folders of label images, in lower case.
LABEL_FOLDERS = (
    *("labels", "label", "masks", "mask", "annotations", "gt", "ground_truth", "groundtruth"),
    *("label masks", "label_masks"),
)
#: Endings of a label image's name, before its suffix. Cellpose has its labels in ``_cp_masks``, and
#: in ``_seg.npy`` objects of Python.
LABEL_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_seg", "_gt")


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
                :data:`LABEL_FOLDERS`.
            pairs: CSV with the columns ``image`` and ``labels``, names in the source.

        Raises:
            DataError: see :class:`Reader`; or the list cannot be read.
        """
        super().__init__(source, problems)
        with FileSource(source) as files:
            there = list_files(files, problems)
        if pairs is not None:
            found = read_pairs(pairs, there)
        else:
            found = find_pairs(there, [label_ending] if label_ending else LABEL_ENDINGS)
        self._entries, bad = named_pairs(found)
        problems.add(*bad)
        if not self._entries:
            problems.raise_unless_skipped(source)
            raise DataError(
                f"{source}: holds no image with a label image; put them into images/ and labels/ "
                "under the same name, or name the ending, such as --label-ending _masks, or list "
                "them with --pairs"
            )

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        """Whether the files of a source look like this layout."""
        return bool(find_pairs(names, LABEL_ENDINGS))

    @property
    def decoder(self) -> Decoder:
        return decode_pair


def find_pairs(names: Iterable[str], endings: Iterable[str]) -> list[tuple[str, str]]:
    """Images and their label images, by name: beside one another, or in folders side by side.

    Args:
        names: of files, relative, with "/".
        endings: of label images beside their image.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if name.lower().endswith((*IMAGE_SUFFIXES, *LABEL_SUFFIXES)):
            by_stem[_stem(name)].append(name)
    found = []
    for stem, files in by_stem.items():
        for other in filter(by_stem.__contains__, _label_stems(stem, endings)):
            labels = [n for n in by_stem[other] if _has(n, LABEL_SUFFIXES)]
            images = [n for n in files if _has(n, IMAGE_SUFFIXES)]
            if labels and images:
                found.append((images[0], labels[0]))
                break
    taken = {labels for _, labels in found}
    return [pair for pair in found if pair[0] not in taken]


# text and no paths: there may be a file for every object


def _stem(name: str) -> str:
    """The path without suffix; in lower case the name of its folder, such as ``Labels``."""
    parts = name.rpartition(".")[0].split("/")
    parts[-2:-1] = [folder.lower() for folder in parts[-2:-1]]
    return "/".join(parts)


def _label_stems(stem: str, endings: Iterable[str]) -> Iterator[str]:
    """What the labels of an image may be called, without suffix."""
    yield from (stem + ending for ending in endings)
    *above, folder, name = ["", *stem.split("/")]
    if "/" not in stem or folder in LABEL_FOLDERS:
        return
    folders = ["/".join([*above[1:], folder, name]) for folder in LABEL_FOLDERS]
    yield from folders
    yield from (folder + ending for folder in folders for ending in endings)


def _has(name: str, suffixes: Iterable[str]) -> bool:
    return PurePosixPath(name).suffix.lower() in suffixes


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


def decode_pair(files: FileSource, pair: Pair) -> Result:
    """An image and its label image; all objects are nuclei."""
    file = pair.image
    try:
        content, pixels = decode_image(files, pair.image)
        file = pair.annotation
        labels = decode_labels(files, pair.annotation)
        check_size(labels.shape, pixels)
    except DataError as error:
        return None, [Problem("image", pair.name, file, str(error))]
    _, masks = label_masks(labels)
    sample = make_sample(pair.name, pair.image, (content, pixels), masks)
    return sample, []
