"""The closing table of the tools that prepare data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from tabulate import tabulate

from maskrcnnpp.convert.coco_dataset import ImageRecord
from maskrcnnpp.images import image_kind
from maskrcnnpp.images.display import STRETCH
from maskrcnnpp.package_files import FIRST_CHOICE

_QUANTILES = (0.05, 0.5, 0.95)


def summary_table(
    records: Mapping[str, ImageRecord],
    splits: Mapping[str, Sequence[str]],
    tablefmt: str = "github",
) -> str:
    """Images, objects and their sizes, a row a split and one for all.

    The three numbers of diameter and area are the 5, 50 and 95 % quantiles over objects; the
    diameter is that of the disk of the same area. Pixels.
    """
    everything = dict.fromkeys(name for names in splits.values() for name in names)  # folds overlap
    rows = [
        _row(split, [records[name] for name in names])
        for split, names in {**splits, "all": everything}.items()
    ]
    headers = [
        "split",
        "images",
        "objects",
        "median an image",
        "max an image",
        "diameter, px",
        "area, px",
    ]
    return tabulate(rows, headers, tablefmt=tablefmt, colalign=("left", *["right"] * 6))


def next_step(
    output: Path,
    records: Mapping[str, ImageRecord],
    splits: Mapping[str, Sequence[str]],
    classes: int = 1,
) -> str:
    """Text that says how to train on the data set of objects that was written.

    Keys that its images need are those of the first image of the training.
    """
    keys = [] if classes == 1 else ["MODEL.ROI_HEADS.NUM_CLASSES", str(classes)]
    if not any(record.masks for record in records.values()):
        return "no image has an object, so that there is nothing to train on"
    trained = next(names for names in (splits.get("train", ()), *splits.values()) if names)
    kind = image_kind(output / "images" / records[trained[0]].file_name)
    if kind.dtype != "uint8":
        keys += ["INPUT.PERCENTILES", str(list(STRETCH))]
    files = {split: output / "annotations" / f"instances_{split}.json" for split in splits}
    if not kind.is_colour:
        words = ["maskrcnnpp", "inspect", "--annotations", str(_of_training(files))]
        words += ["--images", str(output / "images"), "--output", "inspected"]
        command = " ".join(map(_quoted, words))
        about = f"its images have {kind.channels} channels; this writes a config that chooses them"
        return f"{about}:\n  {command}"
    keys += ["OUTPUT_DIR", f"output/{output.resolve().name}"]
    return f"to train on it:\n  {train_command(FIRST_CHOICE, files, keys)}"


def _of_training(files: Mapping[str, Path]) -> Path:
    others = [split for split in files if split not in ("val", "test")]
    return files["train"] if "train" in files else files[(others or list(files))[0]]


def train_command(
    config: str, files: Mapping[str, Path], keys: Sequence[str] = (), *, stops_early: bool = False
) -> str:
    """Command that trains on the split ``train``, or else the first, and evaluates on ``val``.

    Args:
        config: config file.
        files: annotations of each split. Without ``val`` the second one is evaluated on, if any.
        keys: KEY VALUE pairs that the data needs.
        stops_early: whether the config cannot do without images to evaluate on: a single split
            is both then.
    """
    trained = _of_training(files)
    others = [file for file in files.values() if file != trained]
    tested = [files["val"]] if files.get("val") in others else others[:1]
    tested = tested or [trained] * stops_early
    words = ["maskrcnnpp", "train", "--config-file", config, *keys]
    words += ["DATASETS.TRAIN", repr((trained.as_posix(),))]
    words += ["DATASETS.TEST", repr(tuple(file.as_posix() for file in tested))]
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """A word quoted for a shell; in double quotes, which are easier to read, where possible."""
    quoted = shlex.quote(word)
    return f'"{word}"' if quoted != word and not set(word) & set('"$`\\!') else quoted


def _row(split: str, records: Sequence[ImageRecord]) -> list[str]:
    counts = [len(record.masks) for record in records]
    areas = np.array([coco_mask.area(mask) for r in records for mask in r.masks], dtype=float)
    return [
        split,
        str(len(records)),
        str(sum(counts)),
        f"{np.median(counts):g}" if counts else "-",
        f"{max(counts)}" if counts else "-",
        _quantiles(2 * np.sqrt(areas / np.pi), 1),
        _quantiles(areas, 0),
    ]


def _quantiles(values: np.ndarray, digits: int) -> str:
    if not values.size:
        return "-"
    return " / ".join(f"{value:.{digits}f}" for value in np.quantile(values, _QUANTILES))
