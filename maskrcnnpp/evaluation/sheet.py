"""Results of an evaluation, to be looked at beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from maskrcnnpp.data.semantic import read_labels
from maskrcnnpp.images.display import read_rgb
from maskrcnnpp.masks.parse import as_rle
from maskrcnnpp.masks.rle import encode_crop
from maskrcnnpp.visualization import Panel, SheetRow

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` items at even steps through ``items``, all of them when there are fewer."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def result_rows(
    truth: Mapping[str, Any],
    chosen: Sequence[Mapping[str, Any]],
    image_root: Path,
    results: Sequence[Mapping[str, Any]],
    score_threshold: float,
) -> Iterator[SheetRow]:
    """Rows of a contact sheet with truth and prediction, one image in memory at a time.

    Args:
        truth: COCO annotations.
        chosen: some of its images.
        image_root: their folder.
        results: COCO results; those below ``score_threshold`` are not drawn.

    Raises:
        DataError: an image cannot be read.
    """
    ids = {image["id"] for image in chosen}
    truths = _by_image(truth.get("annotations", []), ids)
    sure = [entry for entry in results if entry["score"] >= score_threshold]
    predictions = _by_image(sure, ids)
    for image in chosen:
        pixels = read_rgb(image_root / image["file_name"])
        size = pixels.shape[:2]
        found = predictions[image["id"]]
        yield SheetRow(
            title=image["file_name"],
            image=pixels,
            panels=[
                Panel([as_rle(entry, *size) for _, entry in truths[image["id"]]]),
                Panel(
                    [as_rle(entry, *size) for _, entry in found],
                    [score for score, _ in found],
                ),
            ],
        )


def semantic_rows(
    predictions: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]]
) -> Iterator[SheetRow]:
    """Rows of a semantic data set, like :func:`result_rows`: each class has one outline.

    Args:
        predictions: content of ``semantic_predictions.json``.
        chosen: Detectron2's dicts of some of the images; those not predicted are left out.

    Raises:
        DataError: an image or its labels cannot be read.
    """
    for record in chosen:
        if record["file_name"] not in predictions["images"]:
            continue
        labels = read_labels(record, predictions["ignore_value"])
        members = [np.isin(labels, entry["labels"]) for entry in predictions["classes"]]
        yield SheetRow(
            title=Path(record["file_name"]).name,
            image=read_rgb(record["file_name"]),
            panels=[
                Panel([encode_crop(mask, 0, 0, *mask.shape) for mask in members]),
                Panel(predictions["images"][record["file_name"]]),
            ],
        )


def _by_image(entries: Sequence[Mapping[str, Any]], ids: set) -> dict[Any, list[tuple[float, Any]]]:
    """Score and segmentation of the entries with a mask, by image id."""
    grouped: dict[Any, list[tuple[float, Any]]] = {image_id: [] for image_id in ids}
    for entry in entries:
        if entry["image_id"] in ids and entry.get("segmentation"):
            grouped[entry["image_id"]].append((entry.get("score", 1.0), entry["segmentation"]))
    return grouped
