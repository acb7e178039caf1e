"""Images and raw labels to a semantic data set on disk, which appears whole or not at all.

The files are those that :mod:`maskrcnnpp.data.semantic` reads::

    <output>/images/<name>.png
    <output>/labels/<name>.png
    <output>/annotations/semantic_<split>.json
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate

from maskrcnnpp.convert.coco_dataset import GENERATOR, check_replaceable
from maskrcnnpp.convert.semantic.label_map import LabelMap
from maskrcnnpp.convert.semantic.source import SemanticItem
from maskrcnnpp.convert.splits import (
    check_disjoint,
    draw_splits,
    draw_splits_of_groups,
    read_splits,
)
from maskrcnnpp.convert.summary import train_command
from maskrcnnpp.data.semantic import IGNORED, LABEL_FILE
from maskrcnnpp.errors import DataError, OutputError
from maskrcnnpp.files import staged_folder, swap_in, write_json
from maskrcnnpp.images import encode_image
from maskrcnnpp.images.display import STRETCH

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}
_FOLDERS = ("images", "labels", "annotations")


class SemanticRecord(NamedTuple):
    """Data that is kept about an image once it is on disk."""

    height: int
    width: int
    group: str | None
    #: How many pixels have each label; int64 (256,).
    pixels: np.ndarray
    is_16_bit: bool = False


Records = Mapping[str, SemanticRecord]
Splits = Mapping[str, Sequence[str]]


def convert_semantic(
    items: Iterable[SemanticItem],
    output: str | os.PathLike,
    label_map: LabelMap,
    draw: Callable[[Records], Splits],
    *,
    info: Mapping[str, Any],
    only_labelled: bool = False,
) -> tuple[Records, Splits]:
    """Write a semantic data set.

    Args:
        items: images and raw labels.
        output: folder; what a former conversion wrote there is replaced.
        label_map: what raw values mean.
        draw: makes the splits; images in none of them are not kept.
        info: for the ``info`` of the JSON files.
        only_labelled: leave out images in which no pixel is of a class.

    Returns:
        what is known of each image, and the splits.

    Raises:
        DataError: an image cannot be used, none is left, or the output is not of this tool.
            Nothing is written then.
        OutputError: the output cannot be written to.
    """
    records: dict[str, SemanticRecord] = {}
    check_replaceable(Path(output), "semantic", _FOLDERS)
    with staged_folder(output, _FOLDERS) as staging:
        for item in items:
            labels = _checked(item, label_map, records)
            pixels = np.bincount(labels.ravel(), minlength=IGNORED + 1)
            if only_labelled and not pixels[1:IGNORED].any():
                continue
            for folder, array in (("images", item.image), ("labels", labels)):
                _write(staging / folder / f"{item.name}.png", array)
            records[item.name] = SemanticRecord(
                *labels.shape, item.group, pixels, item.image.dtype == np.uint16
            )
        if not records:
            raise DataError(f"{output}: no image is left{' with a label' * only_labelled}")
        splits = draw(records)
        about = {**info, "generator": GENERATOR, "raw_values": label_map.as_dict()}
        for split, names in splits.items():
            truth = _truth(names, records, label_map, about)
            write_json(staging / "annotations" / f"semantic_{split}.json", truth)
        for name in records.keys() - {name for names in splits.values() for name in names}:
            for folder in ("images", "labels"):
                (staging / folder / f"{name}.png").unlink()
        swap_in(staging, output, _FOLDERS)
    return records, splits


def _write(path: Path, array: np.ndarray) -> None:
    try:
        path.write_bytes(encode_image(array)[0])
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def _checked(item: SemanticItem, label_map: LabelMap, records: Records) -> np.ndarray:
    """The labels of an image that can be written."""
    if item.name in records:
        raise DataError(f"{item.image_file}: two images have the name {item.name}; rename one")
    image = item.image
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{item.image_file} is {image.dtype}; a PNG takes 8 or 16 bits without sign: choose "
            "what becomes 0 and 255 with --window LEVEL WIDTH"
        )
    if image.ndim != 2 and image.shape[2:] != (3,):
        raise DataError(f"{item.image_file} has {image.shape[2]} channels; save it as grey or RGB")
    if image.shape[:2] != item.raw.shape:
        sizes = ["x".join(map(str, array.shape[:2])) for array in (image, item.raw)]
        raise DataError(
            f"{item.label_file} has {sizes[1]} pixels, its image {item.image_file} {sizes[0]}"
        )
    return label_map.labels(item.raw, item.label_file)


def _truth(
    names: Iterable[str], records: Records, label_map: LabelMap, info: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "info": info,
        "images": [
            {
                "id": number,
                "file_name": f"{name}.png",
                "height": records[name].height,
                "width": records[name].width,
                LABEL_FILE: f"../labels/{name}.png",
            }
            for number, name in enumerate(names, start=1)
        ],
        "categories": [
            {"id": label, "name": name} for label, name in enumerate(label_map.classes, start=1)
        ],
    }


def drawn_splits(
    records: Records, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0
) -> dict[str, list[str]]:
    """Splits of these fractions, balanced by image size and classes; groups are not divided.

    Raises:
        DataError: there are too few images or groups for every split to get one.
    """
    strata = {
        name: (r.height, r.width, tuple(np.flatnonzero(r.pixels[:IGNORED]).tolist()))
        for name, r in records.items()
    }
    if all(record.group is None for record in records.values()):
        return draw_splits(strata, fractions=fractions, seed=seed)
    groups = {name: record.group or name for name, record in records.items()}
    return draw_splits_of_groups(strata, groups, fractions=fractions, seed=seed)


def listed_splits(records: Records, folder: str | os.PathLike) -> dict[str, list[str]]:
    """Splits of the lists ``<split>.txt`` in a folder: names of images or groups, one a line.

    Raises:
        DataError: there is no list, one cannot be used, or a name is not in the source.
    """
    folder = Path(folder)
    lists = sorted(path.stem for path in folder.glob("*.txt"))
    if not lists:
        raise DataError(f"{folder}: there is no list (*.txt) in it; name a folder with train.txt")
    members: dict[str, list[str]] = {}
    for name, record in records.items():
        members.setdefault(record.group or name, []).append(name)
    members |= {name: [name] for name in records}
    result: dict[str, list[str]] = {}
    for split, names in read_splits(folder, lists).items():
        lacking = [name for name in names if name not in members]
        if lacking:
            raise DataError(
                f"{folder / split}.txt: {len(lacking)} names are not in the source, such as "
                f"{lacking[0]}; a name is that of a file without its ending, and slices that "
                "--only-labelled leaves out cannot be listed"
            )
        result[split] = list(dict.fromkeys(image for name in names for image in members[name]))
    check_disjoint(result, folder)  # of a group and its images
    return result


def semantic_train_command(
    output: str | os.PathLike, records: Records, splits: Splits, label_map: LabelMap
) -> str:
    """Command that trains on the data set that was written."""
    files = {split: Path(output) / "annotations" / f"semantic_{split}.json" for split in splits}
    # one class is separated from the background by a sigmoid, several by a softmax over both
    count = len(label_map.classes)
    keys = []
    if count > 1:
        keys += ["MODEL.SEM_SEG_HEAD.ACTIVATION", "softmax"]
        keys += ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", str(count + 1)]
    if any(record.is_16_bit for record in records.values()):
        keys += ["INPUT.PERCENTILES", str(list(STRETCH))]
    keys += ["OUTPUT_DIR", f"output/{Path(output).resolve().name}"]
    return train_command("maskrcnnpp://semantic/unetpp_ds.yaml", files, keys, stops_early=True)


def semantic_summary(records: Records, splits: Splits, label_map: LabelMap) -> str:
    """A table: images of each split, and the share of its pixels that each label has."""
    labels = {"background": 0, **{n: k for k, n in enumerate(label_map.classes, start=1)}}
    labels["ignored"] = IGNORED
    rows = []
    for split, names in splits.items():
        counts = sum((records[name].pixels for name in names), np.zeros(IGNORED + 1, np.int64))
        shares = [f"{100 * counts[label] / counts.sum():.2f} %" for label in labels.values()]
        rows.append([split, len(names), *shares])
    right = ["right"] * (len(labels) + 1)
    headers = ["split", "images", *labels]
    return tabulate(rows, headers, tablefmt="github", colalign=("left", *right))
