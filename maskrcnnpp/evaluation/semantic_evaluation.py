"""Detectron2 evaluators of semantic segmentation: of its pixels, and of objects made of them."""

from __future__ import annotations

import json
import logging
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from tabulate import tabulate

from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.data.semantic import IGNORED, read_labels
from maskrcnnpp.errors import DataError
from maskrcnnpp.evaluation.coco_evaluation import COCOInstanceEvaluator
from maskrcnnpp.evaluation.semantic_metrics import (
    count_pixels,
    predicted_masks,
    semantic_metrics,
)
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.masks.rle import Rle, encode_crop

METRICS_FILE = "semantic_metrics.json"
TABLE_FILE = "semantic_metrics.md"
PREDICTIONS_FILE = "semantic_predictions.json"
TASK = "sem_seg"

logger = logging.getLogger(__name__)


def read_metrics(run_dir: str | os.PathLike, dataset_name: str) -> dict[str, float | None]:
    """Metrics of a data set that :class:`SemanticEvaluator` wrote into the folder of a run.

    Raises:
        DataError: they are not there, or are something else.
    """
    path = Path(run_dir, "inference", folder_name(dataset_name), METRICS_FILE)
    try:
        return json.loads(path.read_text(encoding="utf-8"))[TASK]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def semantic_metrics_table(about: Mapping[str, Any]) -> str:
    """The metrics as a Markdown table with a line above that says what was measured.

    Args:
        about: what ``semantic_metrics.json`` holds.
    """
    rows = [[name, "n/a" if x is None else f"{x:.2f}"] for name, x in about[TASK].items()]
    table = tabulate(rows, ["metric", "percent"], tablefmt="pipe", disable_numparse=True)
    return f"{about['dataset']}: {about['images']} images\n\n{table}"


class SemanticEvaluator(DatasetEvaluator):
    """IoU and Dice of the classes that a head gives probabilities of.

    ``evaluate`` writes into ``output_dir`` ``semantic_metrics.json``, ``semantic_metrics.md`` and
    ``semantic_predictions.json``: of each class its name and its labels in the truth, and its mask
    in each image, by the image's file name, as COCO RLE in the order of the classes.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        class_labels: Sequence[Sequence[int]],
        exclusive: bool = False,
        ignore_value: int = IGNORED,
        output_dir: str | os.PathLike | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a registered data set.
            class_labels: labels of the truth that each channel of the prediction stands for.
            exclusive: each pixel has one class, and channel 0 is background, which is not judged.
            ignore_value: label of pixels that do not count.
            output_dir: where files go; None writes none.
        """
        self._dataset_name = dataset_name
        self._class_labels = [list(labels) for labels in class_labels]
        self._exclusive = exclusive
        self._judged = slice(int(exclusive), None)  # channels: all but the background's
        self._ignore_value = ignore_value
        self._output_dir = None if output_dir is None else Path(output_dir)
        records = DatasetCatalog.get(dataset_name)
        self._records = {record["file_name"]: record for record in records}
        self.reset()

    def reset(self) -> None:
        self._counts: dict[str, np.ndarray] = {}
        self._masks: dict[str, list[Rle]] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Count the pixels of a batch.

        Args:
            inputs: dataset dicts with ``file_name``.
            outputs: with ``sem_seg``, probabilities (channels, H, W).

        Raises:
            DataError: the truth of an image cannot be read.
        """
        for record, output in zip(inputs, outputs, strict=True):
            name = record["file_name"]
            labels = read_labels(self._records[name], self._ignore_value)
            truth = np.stack([np.isin(labels, members) for members in self._class_labels])
            values = output["sem_seg"].float().cpu().numpy()
            if values.shape != truth.shape:
                raise DataError(f"{name}: predicted are {values.shape}, the truth is {truth.shape}")
            is_counted = labels != self._ignore_value
            self._counts[name] = count_pixels(values, truth, is_counted, exclusive=self._exclusive)
            if self._output_dir is not None:
                shown = predicted_masks(values, exclusive=self._exclusive)[self._judged]
                self._masks[name] = [encode_crop(mask, 0, 0, *mask.shape) for mask in shown]

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """The metrics, as ``{"sem_seg": {"IoU": ..., ...}}``; empty in all but the main process.

        See :func:`maskrcnnpp.evaluation.semantic_metrics.semantic_metrics`.
        """
        comm.synchronize()
        gathered = comm.gather((self._counts, self._masks))
        if not comm.is_main_process():
            return OrderedDict()
        counts = {name: found for part, _ in gathered for name, found in part.items()}
        masks = {name: found for _, part in gathered for name, found in part.items()}
        if missing := len(self._records) - len(counts):
            logger.warning("%d images of %s were not predicted", missing, self._dataset_name)
        if not counts:
            return OrderedDict()
        # of each image once, in an order that does not depend on the processes
        stacked = np.stack([counts[name] for name in sorted(counts)])
        metrics = semantic_metrics(stacked[:, self._judged], self._names())
        self._report(metrics, len(counts))
        self._write_predictions(masks)
        return OrderedDict({TASK: metrics})

    def _names(self) -> list[str]:
        """Names of the judged channels."""
        classes = MetadataCatalog.get(self._dataset_name).get("thing_classes") or ()
        return [_name(labels, classes) for labels in self._class_labels[self._judged]]

    def _write_predictions(self, masks: dict[str, list[Rle]]) -> None:
        if self._output_dir is None:
            return
        labels = self._class_labels[self._judged]
        about = [{"name": n, "labels": members} for n, members in zip(self._names(), labels)]
        images = {name: masks[name] for name in sorted(masks)}
        path = self._output_dir / PREDICTIONS_FILE
        found = {"dataset": self._dataset_name, "ignore_value": self._ignore_value}
        write_json(path, {**found, "classes": about, "images": images})

    def _report(self, metrics: dict[str, float], images: int) -> None:
        plain = {name: None if math.isnan(x) else x for name, x in metrics.items()}
        about: dict[str, Any] = {"dataset": self._dataset_name, "images": images, TASK: plain}
        text = semantic_metrics_table(about)
        logger.info("semantic segmentation\n%s", text)
        if self._output_dir is None:
            return
        write_json(self._output_dir / METRICS_FILE, about, indent=2)
        write_text(self._output_dir / TABLE_FILE, text + "\n")


class ObjectsOfSemantic(COCOInstanceEvaluator):
    """COCO AP of the objects that are made of a semantic prediction."""

    def __init__(self, find_objects: Callable[[torch.Tensor], Instances], **others: Any) -> None:
        """
        Args:
            find_objects: of probabilities (channels, H, W).
            others: of :class:`COCOInstanceEvaluator`.
        """
        super().__init__(**others)
        self._find_objects = find_objects

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        found = [{"instances": self._find_objects(output["sem_seg"])} for output in outputs]
        super().process(inputs, found)


def _name(labels: Sequence[int], classes: Sequence[str]) -> str:
    """Name of a class that is made of these labels."""
    known = [str(classes[x - 1]) if 0 < x <= len(classes) else str(x) for x in labels]
    return "+".join(known)
