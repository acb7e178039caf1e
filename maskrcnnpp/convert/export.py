"""COCO data sets to the layouts that other programs read.

    labels   images/<name>.<suffix>, labels/<name>.tif: 0 is background, n the n-th object
    pngs     <name>/images/<name>.<suffix>, <name>/masks/<n>.png, as DSB2018 has them
    csv      images/<name>.<suffix>, labels.csv: ImageId,EncodedPixels, as Kaggle has them

Image files are copied byte for byte. Objects are numbered from 1 in each image by rising
annotation id. None of these layouts has categories.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from tqdm import tqdm

from maskrcnnpp.convert.export_source import ExportImage, export_images
from maskrcnnpp.errors import DataError, OutputError
from maskrcnnpp.files import PARTIAL, staging_folder
from maskrcnnpp.lock import LOCK_FILE
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.masks.rle import Rle, runs_of_object

TABLE_FILE = "labels.csv"

_LARGEST_SHORT = 2**16 - 1  # label of 16 bits


@dataclass
class ExportCounts:
    """Counts of what was written, and of what the layout could not hold."""

    images: int = 0
    objects: int = 0
    pixels_lost: int = 0
    """Pixels of objects that another object has in a label image."""
    objects_cut: int = 0
    """Objects that lost some of their pixels so, those that lost all included."""
    objects_lost: int = 0
    """Objects that lost all."""
    crowds: int = 0
    """Annotations left out since they are ``iscrowd``, which is not a single object."""
    empty_images: int = 0
    """Images without objects."""
    other_images: int = 0
    """Images that are no PNG files, where the layout has PNG files."""
    classes: tuple[str, ...] = ()
    """Names of the classes, where there are several: none of the layouts has them."""

    def lines(self) -> str:
        """Text that says what was written and lost."""
        lines = [f"{self.images} images, {self.objects} objects"]
        if self.objects_cut:
            lines.append(
                f"masks overlap: {self.objects_cut} objects lost {self.pixels_lost} pixels to "
                f"smaller ones, {self.objects_lost} of them all they had"
            )
        if self.classes:
            lines.append(
                f"{len(self.classes)} classes ({', '.join(self.classes)}) are not in this format: "
                "its objects have none"
            )
        if self.crowds:
            lines.append(f"{self.crowds} annotations are crowds (iscrowd) and were left out")
        if self.empty_images:
            lines.append(f"{self.empty_images} images have no objects")
        if self.other_images:
            lines.append(
                f"{self.other_images} images are no PNG files, which DSB2018 readers expect"
            )
        return "\n".join(lines)


def export_labels(
    truth: Mapping[str, Any], image_root: str | os.PathLike, output: str | os.PathLike
) -> ExportCounts:
    """Write label images: TIFF of 16 bits, or 32 for more than 65535 objects.

    Where masks overlap, the object of the smaller area has the pixel, so that small ones can be
    seen; of the same area, that of the lower id.

    Args:
        truth: a COCO dict, as :func:`maskrcnnpp.coco.file.load_coco_truth` reads it.
        image_root: folder in which the images' ``file_name`` is looked up.
        output: folder, new or empty. It appears whole or not at all.

    Raises:
        DataError: ``output`` is there and not empty, or cannot be written; an image is missing;
            an annotation is broken; two images would have one name.
    """
    counts = ExportCounts()
    with _new_folder(output) as folder:
        (folder / "labels").mkdir()
        for image in _each(truth, image_root, counts, "labels"):
            _copy(image, folder / "images")
            labels, areas, kept = draw_labels(image.masks, image.height, image.width)
            counts.pixels_lost += int((areas - kept).sum())
            counts.objects_cut += int((kept < areas).sum())
            counts.objects_lost += int((kept == 0).sum())
            tifffile.imwrite(folder / "labels" / f"{image.name}.tif", labels, compression="zlib")
    return counts


def export_pngs(
    truth: Mapping[str, Any], image_root: str | os.PathLike, output: str | os.PathLike
) -> ExportCounts:
    """Write a PNG file for each object, 255 where it is. Overlaps are kept.

    Args, Raises: see :func:`export_labels`.
    """
    counts = ExportCounts()
    with _new_folder(output) as folder:
        for image in _each(truth, image_root, counts, "pngs"):
            counts.other_images += image.file.suffix.lower() != ".png"
            _copy(image, folder / image.name / "images")
            masks = folder / image.name / "masks"
            masks.mkdir()
            full = np.zeros((image.height, image.width), dtype=np.uint8)
            for number, rle in enumerate(image.masks, start=1):
                crop = Crop.of_rle(rle)
                crop.of(full)[crop.pixels] = 255
                (masks / f"{number}.png").write_bytes(cv2.imencode(".png", full)[1].tobytes())
                crop.of(full)[...] = 0
    return counts


def export_csv(
    truth: Mapping[str, Any], image_root: str | os.PathLike, output: str | os.PathLike
) -> ExportCounts:
    """Write a table of runs, counted from 1 down the columns. Overlaps are kept.

    Args, Raises: see :func:`export_labels`.
    """
    counts = ExportCounts()
    with _new_folder(output) as folder:
        with open(folder / TABLE_FILE, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("ImageId", "EncodedPixels"))
            for image in _each(truth, image_root, counts, "csv"):
                _copy(image, folder / "images")
                table.writerows((image.name, _runs(rle)) for rle in image.masks)
                if not image.masks:
                    table.writerow((image.name, ""))
    return counts


Export = Callable[[Mapping[str, Any], str | os.PathLike, str | os.PathLike], ExportCounts]
#: Name of a format -> what writes it.
EXPORTS: dict[str, Export] = {"labels": export_labels, "pngs": export_pngs, "csv": export_csv}


def draw_labels(
    masks: Sequence[Rle], height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A label image, by the rule of :func:`export_labels`.

    Args:
        masks: of the image, none empty; the n-th has the label n.
        height, width: of the image, pixels.

    Returns:
        labels (height, width), uint16 or uint32; the pixels of each object, int64 (N,); and how
        many of them it has in the label image, int64 (N,).
    """
    labels = np.zeros(
        (height, width), dtype=np.uint16 if len(masks) <= _LARGEST_SHORT else np.uint32
    )
    areas = np.array([runs_of_object(rle)[1].sum() for rle in masks], dtype=np.int64)
    kept = areas.copy()
    # the last one drawn stays: large before small, and of the same area the first one last
    for index in np.argsort(areas, kind="stable")[::-1]:
        crop = Crop.of_rle(masks[index])
        beneath = crop.of(labels)[crop.pixels]
        np.subtract.at(kept, beneath[beneath > 0] - 1, 1)
        crop.of(labels)[crop.pixels] = index + 1
    return labels, areas, kept


def _runs(rle: Rle) -> str:
    starts, lengths = runs_of_object(rle)
    return " ".join(map(str, np.column_stack((starts + 1, lengths)).ravel().tolist()))


def _each(
    truth: Mapping[str, Any], image_root: str | os.PathLike, counts: ExportCounts, what: str
) -> Iterator[ExportImage]:
    """The images, counted."""
    names = tuple(str(category.get("name")) for category in truth["categories"])
    counts.classes = names if len(names) > 1 else ()
    images = export_images(truth, image_root)
    for image in tqdm(images, total=len(truth["images"]), desc=what, unit="image"):
        counts.images += 1
        counts.objects += len(image.masks)
        counts.crowds += image.crowds
        counts.empty_images += not image.masks
        yield image


def _copy(image: ExportImage, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{image.name}{image.file.suffix.lower()}"
    try:
        shutil.copyfile(image.file, target)
    except OSError as error:
        raise DataError(f"{image.file}: cannot be copied ({error})") from error


@contextlib.contextmanager
def _new_folder(output: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary folder beside ``output`` that takes its place when the block succeeds.

    Raises:
        DataError: ``output`` is there and no empty folder, or cannot be written.
    """
    shown, output = output, Path(output).resolve()
    if os.path.lexists(output) and not (output.is_dir() and not any(output.iterdir())):
        raise DataError(f"{shown}: is there and not empty; name a new folder with --output")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(output.parent, PARTIAL) as folder:
            yield folder
            # mkdtemp makes private folders; give the result the permissions of an ordinary one
            umask = os.umask(0)
            os.umask(umask)
            folder.chmod(0o777 & ~umask)
            if output.is_dir():
                output.rmdir()
            (folder / LOCK_FILE).unlink()
            folder.rename(output)
    except OSError as error:
        raise OutputError(f"{shown}: cannot be written ({error})") from error
