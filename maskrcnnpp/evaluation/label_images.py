"""Label images of a prediction, compared with other label images or with a COCO file."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.convert.readers.decode_labels import decode_labels
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.evaluation.instance_metrics import ImageCounts, count_images
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.images.companions import (
    BY_PRODUCTS,
    IMAGE_ENDING,
    LABEL_ENDINGS,
    OUTPUT_ENDINGS,
    find_companions,
)
from maskrcnnpp.masks.labels import label_masks
from maskrcnnpp.masks.parse import as_rle
from maskrcnnpp.masks.pieces import check_label_image
from maskrcnnpp.masks.rle import Rle

_SUFFIXES = (".tif", ".tiff", ".png", ".bmp", ".npy")
_OWN = OUTPUT_ENDINGS[0]  # of maskrcnnpp predict
_ONE_CLASS = 1
_MOST = 10**6  # objects of an image


class Compared(NamedTuple):
    """Counts of the images that both sides have."""

    names: list[str]  #: in the order of the counts
    counts: ImageCounts
    only_truth: list[str]  #: images without a prediction
    only_predicted: list[str]


class _Side(NamedTuple):
    """Objects by the name of their image; of a COCO file they are read already."""

    names: Mapping[str, str]  #: by what both sides call an image, what its file is called
    files: Mapping[str, Path]
    truth: Mapping[str, Any] | None = None


def compare(predicted: Path, truth: Path) -> Compared:
    """Match the objects of label images with the true ones, whatever their class.

    Args:
        predicted: folder of label images: of ``maskrcnnpp predict``, or of another program.
        truth: folder of label images, or COCO file.

    Raises:
        DataError: a side has no label image, or one of another size than the other's; or no image
            is on both. The message names the file.
    """
    ours, theirs = _of_folder(predicted), _side(truth)
    both = sorted(ours.names.keys() & theirs.names.keys())
    if not both:
        raise DataError(
            f"no image is both in {predicted} and in {truth}: there is {_some(ours.names)} in one "
            f"and {_some(theirs.names)} in the other; images are told by their names"
        )
    images, annotations, results = [], [], []
    of_image = _annotations(theirs.truth, {theirs.names[key] for key in both})
    for number, key in enumerate(tqdm(both, desc="images", unit="image"), start=1):
        shape, masks = _read(ours.files[key], is_truth=False)
        if theirs.truth is None:
            true_shape, true_masks = _read(theirs.files[key], is_truth=True)
        else:
            true_shape, true_masks = of_image[theirs.names[key]]
        if shape != true_shape:
            sizes = " and ".join(f"{width}x{height}" for height, width in (shape, true_shape))
            raise DataError(f"{ours.files[key]}: it and the truth differ in size, {sizes} pixels")
        height, width = shape
        name = theirs.names[key]
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        results += [
            {"image_id": number, "category_id": _ONE_CLASS, "score": 1.0, "segmentation": mask}
            for mask in masks
        ]
        annotations += [
            {"id": len(annotations) + place, "image_id": number, "category_id": _ONE_CLASS}
            | {"segmentation": mask, "iscrowd": 0, "area": 0.0}
            for place, mask in enumerate(true_masks, start=1)
        ]
    categories = [{"id": _ONE_CLASS, "name": "object"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    return Compared(
        [image["file_name"] for image in images],
        count_images(find_overlaps(data, results, max_dets=_MOST), 0.0),
        sorted(theirs.names[key] for key in theirs.names.keys() - ours.names.keys()),
        sorted(ours.names[key] for key in ours.names.keys() - theirs.names.keys()),
    )


def image_key(name: str) -> str:
    """What an image is called in all programs: ``a`` of ``a.png``, ``a.ome.tif``, ``a_img.png``."""
    return _bare(Path(name).stem)


def label_key(name: str) -> str:
    """The key of the image of a label image: ``a`` of ``a.png.labels.tif`` and ``a_masks.png``."""
    if name.endswith(_OWN):
        return image_key(name.removesuffix(_OWN))
    key = image_key(name)
    ending = next((e for e in LABEL_ENDINGS if key.lower().endswith(e) and len(key) > len(e)), "")
    return _bare(key[: len(key) - len(ending)])


def _bare(stem: str) -> str:
    return stem.removesuffix(".ome").removesuffix(IMAGE_ENDING)


def _side(path: Path) -> _Side:
    if path.is_dir():
        return _of_folder(path)
    if path.suffix.lower() != ".json":
        raise DataError(f"{path} is neither a folder of label images nor a COCO file (.json)")
    truth = load_coco_truth(path)
    names = [str(image["file_name"]) for image in truth["images"]]
    return _Side(_by_key(names, image_key, path), {}, truth)


def _of_folder(folder: Path) -> _Side:
    """Label images of a folder: those of predict, those beside their images, or all files."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of label images")
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in _SUFFIXES]
    files = [p for p in files if p.is_file() and not p.name.startswith("._")]  # of macOS
    chosen = [p for p in files if p.name.endswith(_OWN)]
    if not chosen and (companions := find_companions(files)):
        chosen = [p for p in companions if not p.stem.lower().endswith(BY_PRODUCTS)]
        alone = [p for p in files if p not in companions and p not in companions.values()]
        if alone:
            raise DataError(
                f"{folder} has images with their label images, and {alone[0].name} that has none "
                "beside it: add it, or move the file away"
            )
    if not (chosen := chosen or files):
        raise DataError(f"{folder} has no label image ({', '.join(_SUFFIXES)})")
    names = _by_key([p.name for p in chosen], label_key, folder)
    return _Side(names, {key: folder / name for key, name in names.items()})


def _by_key(names: Iterable[str], key_of: Callable[[str], str], where: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(key_of(name), name)
        if other != name:
            raise DataError(f"{where}: {other} and {name} would be of the same image; rename one")
    return found


def _read(path: Path, *, is_truth: bool) -> tuple[tuple[int, int], list[Rle]]:
    """Size of a label image, and the mask of each object."""
    try:
        labels = decode_labels(FileSource(path.parent), path.name)
        if is_truth:  # a prediction may well be one object in pieces
            check_label_image(labels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return labels.shape, label_masks(labels)[1]


def _annotations(
    truth: Mapping[str, Any] | None, names: Container[str]
) -> dict[str, tuple[tuple[int, int], list[Rle]]]:
    """Of these images their size and masks, by name.

    Raises:
        DataError: an annotation has no mask, or is of a crowd.
    """
    if truth is None:
        return {}
    found: dict[str, tuple[tuple[int, int], list[Rle]]] = {}
    names_of = {}
    for image in truth["images"]:
        if (name := str(image["file_name"])) in names:
            names_of[image["id"]] = name
            found[name] = ((image["height"], image["width"]), [])
    for annotation in truth.get("annotations", ()):
        if annotation.get("image_id") not in names_of:
            continue
        name = names_of[annotation["image_id"]]
        size, masks = found[name]
        if annotation.get("iscrowd"):
            raise DataError(f"{name} has a crowd (iscrowd), which has no single objects to match")
        if not annotation.get("segmentation"):
            raise DataError(f"{name} has an annotation without a mask (segmentation)")
        masks.append(as_rle(annotation["segmentation"], *size))
    return found


def _some(names: Mapping[str, str]) -> str:
    return next(iter(sorted(names.values())), "none")


def counts_table(compared: Compared) -> list[Sequence[Any]]:
    """A row an image: name, objects to find, found, matched at IoU 0.5, F1 there, DSB score."""
    counts = compared.counts
    matched = counts.true_positives[:, 0]
    objects = counts.truths + counts.predictions
    f1 = np.divide(2 * matched, objects, out=np.ones(len(counts)), where=objects > 0)
    columns = (counts.truths, counts.predictions, matched)
    return [
        (name, *map(int, row), round(float(a), 4), round(float(b), 4))
        for name, row, a, b in zip(compared.names, zip(*columns), f1, counts.dsb_scores())
    ]
