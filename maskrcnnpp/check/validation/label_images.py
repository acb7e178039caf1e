"""Faults of the label images of a semantic data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnnpp.coco.rules import file_name_fault, size_fault
from maskrcnnpp.data.semantic import CLASS_COUNT, LABEL_FILE, read_labels
from maskrcnnpp.errors import DataError


def label_faults(
    images: Iterable[tuple[int, Mapping[str, Any]]], classes: int, root: Path, found: Counter
) -> Iterator[tuple[int, str]]:
    """The images, by their place in the list, whose label image cannot be used, and why.

    Args:
        images: with their numbers.
        classes: how many there are beside the background.
        root: folder of the file that lists them.
        found: is called with the pixels of each label.
    """
    for number, image in images:
        name = image.get(LABEL_FILE)
        if name is None:
            yield number, f"no {LABEL_FILE}, which others have"
            continue
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            yield number, f"{LABEL_FILE} is not text, or an empty one"
            continue
        size = image.get("height"), image.get("width")
        if size_fault(*size) or file_name_fault(image.get("file_name")):
            continue  # reported for the image
        record = {LABEL_FILE: os.path.normpath(root / name), CLASS_COUNT: classes}
        record |= {"file_name": image["file_name"], "height": size[0], "width": size[1]}
        try:
            labels = read_labels(record)
        except DataError as error:
            yield number, str(error)
            continue
        found.update(_counted(labels))


def _counted(labels: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))
