"""Samples to a COCO data set on disk, which appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

from maskrcnnpp.coco.categories import NUCLEUS_CATEGORIES
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.errors import DataError, OutputError
from maskrcnnpp.files import staged_folder, swap_in, write_json, write_text
from maskrcnnpp.masks.rle import Rle

LEFT_OUT_FILE, NOTES_FILE = "left_out.txt", "notes.txt"
_FOLDERS = ("images", "annotations")

# in "info" of every JSON file written here: only a data set that holds it may be replaced
GENERATOR = "maskrcnnpp"
# left by file managers, and no loss
_BY_PRODUCTS = {".DS_Store", "Thumbs.db", "desktop.ini"}


class ImageRecord(NamedTuple):
    """Data that is kept about a sample once its image is on disk."""

    file_name: str
    height: int
    width: int
    stain: str
    masks: tuple[Rle, ...]
    category_ids: tuple[int, ...]


def coco_dict(
    records: Sequence[ImageRecord],
    *,
    info: Mapping[str, Any],
    categories: Sequence[Mapping[str, Any]] = NUCLEUS_CATEGORIES,
) -> dict[str, Any]:
    """The COCO JSON of the records, with image and annotation ids from 1 in the order given.

    ``bbox`` is the tight [x, y, width, height] and ``area`` the number of pixels of the mask.
    ``info`` is kept, with this project's name as its ``generator``.
    """
    images, annotations = [], []
    for image_id, record in enumerate(records, start=1):
        images.append(
            {
                "id": image_id,
                "file_name": record.file_name,
                "height": record.height,
                "width": record.width,
            }
        )
        for mask, category_id in zip(record.masks, record.category_ids, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "segmentation": mask,
                    "bbox": [float(edge) for edge in coco_mask.toBbox(mask)],
                    "area": int(coco_mask.area(mask)),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {**info, "generator": GENERATOR},
        "licenses": [],
        "images": images,
        "categories": [dict(category) for category in categories],
        "annotations": annotations,
    }


class CocoDatasetWriter:
    """Writes ``images/`` and ``annotations/instances_<split>.json`` of a data set.

    Everything is written into a temporary folder inside ``output``. Only :meth:`commit` puts it
    in place, where it replaces a former result; until then, and when anything goes wrong, a
    former result stays as it was and the temporary folder is removed at the end of the ``with``
    block, Ctrl-C included.

        with CocoDatasetWriter("datasets/dsb2018", info={"description": "DSB2018"}) as writer:
            for sample in samples:
                writer.add(sample)
            writer.commit({"train": [...], "val": [...], "test": [...]})

    Args:
        output: folder of the data set; made when missing.
        info: the ``info`` block of the JSON files, to which ``generator`` is added. For the same
            output on every run it should hold no date.
        categories: the ``categories`` list, the same in every split.

    Raises:
        DataError: ``output`` cannot be written to, or its ``images`` or ``annotations`` folder
            holds anything that is not of a former result, which must not be removed.
    """

    def __init__(
        self,
        output: str | os.PathLike,
        *,
        info: Mapping[str, Any],
        categories: Sequence[Mapping[str, Any]] = NUCLEUS_CATEGORIES,
    ) -> None:
        self.output = Path(output)
        self._info = info
        self._categories = categories
        self.records: dict[str, ImageRecord] = {}

    def __enter__(self) -> CocoDatasetWriter:
        check_replaceable(self.output, "instances", _FOLDERS, (LEFT_OUT_FILE, NOTES_FILE))
        self._folder = staged_folder(self.output, _FOLDERS)
        self._staging = self._folder.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._folder.__exit__(*error)

    def add(self, sample: Sample) -> None:
        """Store a sample's image and remember its objects."""
        if sample.name in self.records:
            raise DataError(f"{sample.name}: two images of this name; rename one")
        file_name = sample.name + sample.suffix
        try:
            (self._staging / "images" / file_name).write_bytes(sample.image)
        except OSError as error:
            raise DataError(f"{self.output / 'images' / file_name}: {error}") from error
        self.records[sample.name] = ImageRecord(
            file_name, sample.height, sample.width, sample.stain, sample.masks, sample.category_ids
        )

    def commit(
        self, splits: Mapping[str, Sequence[str]], *, left_out: str = "", notes: str = ""
    ) -> None:
        """Write the annotations and put everything in place.

        Args:
            splits: names of added samples by split, each name once. Images are listed in this
                order; those that no split names are not kept.
            left_out, notes: texts of ``annotations/left_out.txt`` and ``annotations/notes.txt``; no
                file when empty.
        """
        for split, names in splits.items():
            records = [self.records[name] for name in names]
            write_json(
                self._staging / "annotations" / f"instances_{split}.json",
                coco_dict(records, info=self._info, categories=self._categories),
            )
        named = {name for names in splits.values() for name in names}
        for name in self.records.keys() - named:
            (self._staging / "images" / self.records[name].file_name).unlink()
        for name, text in ((LEFT_OUT_FILE, left_out), (NOTES_FILE, notes)):
            if text:
                write_text(self._staging / "annotations" / name, text)
        swap_in(self._staging, self.output, _FOLDERS)


def check_replaceable(
    output: Path, kind: str, folders: Sequence[str], texts: Sequence[str] = ()
) -> None:
    """Refuse to replace folders that hold anything but a former result.

    Args:
        output: holds the folders, if it exists.
        kind: annotations are ``annotations/<kind>_*.json``.
        folders: that would be replaced. All but ``annotations`` hold a file for each image.
        texts: names of further files of a result in ``annotations``.

    Raises:
        DataError: a file would be lost.
    """
    remedy = "name another --output folder, or move it away yourself"
    ours: set[Path] = set()
    for path in sorted((output / "annotations").glob(f"{kind}_*.json")):
        names = _images_of_former_result(path)
        if names is None:
            raise DataError(
                f"{path}: was not written by this tool, which would remove it (it lacks the "
                f'"generator" entry "{GENERATOR}" in "info"); {remedy}'
            )
        beside = (folder for folder in folders if folder != "annotations")
        ours |= {path, *(output / folder / name for folder in beside for name in names)}
    if ours:
        ours |= {output / "annotations" / name for name in texts}
    for path in (path for folder in folders for path in _entries(output / folder)):
        if path not in ours or path.is_dir():
            raise DataError(f"{path}: is not a file of this tool and would be removed; {remedy}")


def _entries(folder: Path) -> list[Path]:
    """Paths that would be lost with a folder, sorted; the path itself if it is not a folder."""
    if not folder.is_dir():
        return [folder] if os.path.lexists(folder) else []
    try:
        return sorted(path for path in folder.iterdir() if path.name not in _BY_PRODUCTS)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be listed ({error.strerror})") from error


def _images_of_former_result(path: Path) -> set[str] | None:
    """The files that a JSON file of this project lists; None when it is not of this project."""
    try:
        content = json.loads(path.read_bytes())
        if content["info"]["generator"] != GENERATOR:
            return None
        return {image["file_name"] for image in content["images"]}
    except (OSError, ValueError, LookupError, TypeError):
        return None
