"""Label images of a prediction, compared with other label images or with a COCO file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.errors import DataError
from maskrcnnpp.evaluation.instance_metrics import ImageCounts, count_images
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.images import SUFFIXES, open_all_channels
from maskrcnnpp.images.companions import LABEL_ENDINGS
from maskrcnnpp.masks.labels import label_masks
from maskrcnnpp.masks.parse import as_rle
from maskrcnnpp.masks.pieces import check_label_image
from maskrcnnpp.masks.rle import Rle

_SUFFIXES = (".tif", ".tiff", ".png", ".bmp")
_OWN = ".labels.tif"  # of maskrcnnpp predict
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
    of_image = _annotations(theirs.truth)
    for number, key in enumerate(tqdm(both, desc="images", unit="image"), start=1):
        shape, masks = _read(ours.files[key])
        if theirs.truth is None:
            true_shape, true_masks = _read(theirs.files[key])
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
    """What an image and its label images have in common in their names.

    ``a`` of ``a.png``, ``a.ome.tif``, ``a.png.labels.tif`` and ``a_masks.png``.
    """
    stem = Path(name).stem
    ending = next((e for e in LABEL_ENDINGS if stem.endswith(e) and stem != e), "")
    stem = stem.removesuffix(ending)
    if Path(stem).suffix.lower() in SUFFIXES:
        stem = Path(stem).stem
    return stem.removesuffix(".ome")


def _side(path: Path) -> _Side:
    if path.is_dir():
        return _of_folder(path)
    truth = load_coco_truth(path)
    names = [str(image["file_name"]) for image in truth["images"]]
    return _Side(_by_key(names, path), {}, truth)


def _of_folder(folder: Path) -> _Side:
    """Label images of a folder: those that are called so, or else all images."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of label images")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
    own = [p for p in files if p.name.endswith(_OWN)]
    called = [p for p in files if any(p.stem.endswith(ending) for ending in LABEL_ENDINGS)]
    chosen = own or called or files
    if not chosen:
        raise DataError(f"{folder} has no label image ({', '.join(_SUFFIXES)})")
    names = _by_key([p.name for p in chosen], folder)
    return _Side(names, {key: folder / name for key, name in names.items()})


def _by_key(names: Iterable[str], where: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(image_key(name), name)
        if other != name:
            raise DataError(f"{where}: {other} and {name} would be of the same image; rename one")
    return found


def _read(path: Path) -> tuple[tuple[int, int], list[Rle]]:
    """Size of a label image, and the mask of each object."""
    with open_all_channels(path) as raster:
        pixels = raster.whole()
    if pixels.shape[2] != 1 or pixels.dtype.kind not in "iub":
        raise DataError(
            f"{path} is no label image: it has {pixels.shape[2]} channels of {pixels.dtype}, where "
            "a whole number is needed for each pixel"
        )
    labels = pixels[..., 0].astype(np.int64)
    if labels.min(initial=0) < 0:
        raise DataError(f"{path} has numbers below 0; 0 is background")
    try:
        check_label_image(labels)
    except DataError as error:
        raise DataError(f"{path} {error}") from error
    return labels.shape, label_masks(labels)[1]


def _annotations(truth: Mapping[str, Any] | None) -> dict[str, tuple[tuple[int, int], list[Rle]]]:
    """By the name of an image its size and masks."""
    if truth is None:
        return {}
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    masks: dict[Any, list[Rle]] = {image_id: [] for image_id in sizes}
    for annotation in truth["annotations"]:
        if annotation.get("iscrowd"):
            raise DataError(
                f"annotation {annotation['id']} is a crowd, which has no single objects to match"
            )
        image_id = annotation["image_id"]
        masks[image_id].append(as_rle(annotation["segmentation"], *sizes[image_id]))
    return {
        str(image["file_name"]): (sizes[image["id"]], masks[image["id"]])
        for image in truth["images"]
    }


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
