"""The closing table of the tools that prepare data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from tabulate import tabulate

from maskrcnnpp.convert.coco_dataset import ImageRecord
from maskrcnnpp.data.catalog import datasets_root

# trains in minutes without a GPU; the base config names dsb2018
_TRAIN = "maskrcnnpp train --config-file maskrcnnpp://quick/maskrcnnpp_R_18_nested_fpn.yaml"
_TRAIN_COMMANDS = {
    "dsb2018": _TRAIN,
    "synthetic_nuclei": _TRAIN + " DATASETS.TRAIN \"('synthetic_nuclei_train',)\""
    " DATASETS.TEST \"('synthetic_nuclei_val',)\"",
}

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


def next_step(output: Path, dataset: str) -> str:
    """Text that says how to train on a data set that is prepared in ``output``."""
    command = _TRAIN_COMMANDS[dataset]
    if output.resolve() != (datasets_root() / dataset).resolve():
        if output.name != dataset:
            return (
                f"to train on it, put it into a folder as {dataset}/, set DETECTRON2_DATASETS to "
                f"that folder, then run:\n  {command}"
            )
        command = f"DETECTRON2_DATASETS={shlex.quote(str(output.resolve().parent))} {command}"
    return f"to train on it, run:\n  {command}"


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
