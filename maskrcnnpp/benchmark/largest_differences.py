"""The images on which two arms differ most, drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from maskrcnnpp.benchmark.scoring import Scored
from maskrcnnpp.evaluation.overlaps import Overlaps
from maskrcnnpp.images.display import read_rgb
from maskrcnnpp.visualization import Panel, SheetRow, write_contact_sheet


def write_largest_differences(
    path: str | os.PathLike,
    dataset: str,
    truth: Mapping[str, Any],
    arms: Mapping[str, Scored],
    *,
    images: int = 8,
) -> list[dict[str, Any]]:
    """Draw the images with the largest difference in DSB score: truth, then each arm.

    Args:
        path: of the PNG.
        dataset: registered, with ``image_root`` in its metadata.
        truth: the COCO dict of ``dataset``.
        arms: two arms on ``dataset``.

    Returns:
        ``file_name`` of each image and the DSB score of each arm on it, widest first.

    Raises:
        DataError: an image cannot be read.
    """
    scores = {arm: scored.counts.dsb_scores() for arm, scored in arms.items()}
    first, last = scores.values()
    chosen = np.argsort(-abs(last - first), kind="stable")[:images].tolist()
    root = Path(MetadataCatalog.get(dataset).image_root)
    files = {image["id"]: image["file_name"] for image in truth["images"]}
    order = next(iter(arms.values())).shown.image_ids
    names = [files[order[index]] for index in chosen]
    rows = _rows(root, names, chosen, list(arms.values()), scores)
    write_contact_sheet(path, rows, columns=("truth", *arms))
    return [
        {"file_name": name, **{arm: round(float(s[index]), 4) for arm, s in scores.items()}}
        for name, index in zip(names, chosen)
    ]


def _rows(
    root: Path,
    names: Sequence[str],
    chosen: Sequence[int],
    scored: Sequence[Scored],
    scores: Mapping[str, np.ndarray],
) -> Iterator[SheetRow]:
    for name, index in zip(names, chosen):
        pixels = read_rgb(root / name)
        values = ", ".join(f"{arm} {values[index]:.3f}" for arm, values in scores.items())
        truth = scored[0].shown
        masks = [truth.truth_masks[k] for k in np.flatnonzero(truth.truth_image == index)]
        panels = [Panel(masks), *(_panel(s.shown, index) for s in scored)]
        yield SheetRow(f"{name}   DSB score: {values}", pixels, panels)


def _panel(shown: Overlaps, index: int) -> Panel:
    found = np.flatnonzero(shown.detection_image == index)
    return Panel([shown.detection_masks[k] for k in found], shown.score[found].tolist())
