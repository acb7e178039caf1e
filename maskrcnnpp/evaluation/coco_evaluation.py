"""Detectron2 evaluator of instance segmentation that counts every detection."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_json
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from tabulate import tabulate

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.errors import ConfigError, DataError, UserError
from maskrcnnpp.evaluation.coco_metrics import (
    COCO_AREA_BINS,
    METRICS,
    coco_average_precision,
)
from maskrcnnpp.files import write_json, write_text
from maskrcnnpp.inference import RleMasks

RESULTS_FILE = "coco_instances_results.json"
METRICS_FILE = "coco_metrics.json"
TABLE_FILE = "coco_metrics.md"

logger = logging.getLogger(__name__)


class COCOInstanceEvaluator(DatasetEvaluator):
    """COCO AP of boxes and masks, up to ``max_dets_per_image`` detections an image.

    Detectron2's COCOEvaluator stops at 100 detections, fewer than a dense image has objects.

    ``evaluate`` writes into ``output_dir``:

    - ``coco_instances_results.json``: every detection, in COCO's results format;
    - ``coco_metrics.json`` and ``coco_metrics.md``: the metrics.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        output_dir: str | os.PathLike | None = None,
        max_dets_per_image: int,
        area_bins: Sequence[float] = COCO_AREA_BINS,
        distributed: bool = True,
    ) -> None:
        """
        Args:
            dataset_name: a registered dataset. Its metadata should have ``json_file``; without
                it the dataset is written as COCO JSON into ``output_dir`` first.
            output_dir: where files go; None writes none.
            max_dets_per_image: how many detections of an image and category count; >= 1. Use
                the model's TEST.DETECTIONS_PER_IMAGE.
            area_bins: areas in pixels up to which an object is small, and medium.
            distributed: gather the predictions of all processes and evaluate in the main one.
                False evaluates what this process saw.

        Raises:
            DataError: the annotation file is missing or not COCO.
            UserError: the dataset is not registered, or has no ``json_file`` and there is no
                ``output_dir``.
            ValueError: ``max_dets_per_image`` is below 1.
        """
        if max_dets_per_image < 1:
            raise ValueError(f"max_dets_per_image must be at least 1, not {max_dets_per_image}")
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._max_dets = max_dets_per_image
        self._area_bins = tuple(area_bins)
        self._distributed = distributed
        # MetadataCatalog.get would make an empty entry for a name that is misspelt
        if dataset_name not in {*DatasetCatalog.list(), *MetadataCatalog.list()}:
            raise UserError(f"no dataset is registered as {dataset_name!r}")
        self._metadata = MetadataCatalog.get(dataset_name)
        self._truth: dict[str, Any] = {}
        # Read now, not after an hour of inference, and only where the metric is computed.
        if not distributed or comm.is_main_process():
            self._truth = load_coco_truth(self._truth_file())
        self.reset()

    def reset(self) -> None:
        self._results: list[dict[str, Any]] = []
        self._image_ids: list[Any] = []
        self._has_masks = False

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the detections of a batch as COCO results.

        Args:
            inputs: dataset dicts with ``image_id``.
            outputs: model outputs; "instances" has pred_boxes, scores, pred_classes and, from a
                model with masks, pred_masks (N x height x width, bool; or RleMasks).
        """
        for record, output in zip(inputs, outputs, strict=True):
            if "instances" not in output:
                continue
            instances = output["instances"].to(torch.device("cpu"))
            self._image_ids.append(record["image_id"])
            self._has_masks |= instances.has("pred_masks")
            self._results.extend(to_coco(instances, record["image_id"]))

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Compute the metrics and write the files.

        Returns:
            ``{"bbox": {"AP": ..., ...}, "segm": {...}}`` in 0..100, nan where there is nothing to
            find. Empty in all but the main process, and for a dataset without annotations.

        Raises:
            DataError: predictions and annotations do not fit together.
            ConfigError: a predicted class is not one of the dataset's.
        """
        gathered = [(self._results, self._image_ids, self._has_masks)]
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather(gathered[0], dst=0)
            if not comm.is_main_process():
                return OrderedDict()
        results = self._to_dataset_categories(itertools.chain(*(part[0] for part in gathered)))
        seen = set(itertools.chain(*(part[1] for part in gathered)))
        if self._output_dir is not None:
            write_json(self._output_dir / RESULTS_FILE, results)

        if "annotations" not in self._truth:
            logger.info("%s has no annotations: nothing to compare with", self._dataset_name)
            return OrderedDict()
        unseen = len({image["id"] for image in self._truth["images"]} - seen)
        if unseen:
            logger.warning(
                "%d of the %d images of %s were not predicted: their objects count as missed",
                unseen,
                len(self._truth["images"]),
                self._dataset_name,
            )
        metrics = OrderedDict(
            (
                task,
                coco_average_precision(self._truth, results, task, self._max_dets, self._area_bins),
            )
            for task in self._tasks(any(part[2] for part in gathered) or not seen)
        )
        self._report(metrics, len(results))
        return metrics

    def _truth_file(self) -> str:
        json_file = self._metadata.get("json_file")
        if json_file is not None:
            try:
                return PathManager.get_local_path(json_file)
            except OSError as error:
                raise DataError(f"{json_file}: cannot be read: {error}") from error
        if self._output_dir is None:
            raise UserError(
                f"dataset {self._dataset_name!r} has no json_file in its metadata; give "
                "output_dir, so that it can be written as COCO JSON there"
            )
        # absolute: Detectron2 makes the file's folder, and cannot make ""
        path = str(self._output_dir.absolute() / f"{self._dataset_name}_coco_format.json")
        # a cached file may be of yesterday's data
        convert_to_coco_json(self._dataset_name, path, allow_cached=False)
        return path

    def _to_dataset_categories(self, results) -> list[dict[str, Any]]:
        """Copies of ``results`` with the dataset's category ids for the model's 0..n-1."""
        mapping = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if mapping is not None:
            category_ids = {index: category_id for category_id, index in mapping.items()}
        else:
            # the order in which Detectron2 numbers the categories of a COCO file
            ids = sorted(category["id"] for category in self._truth["categories"])
            category_ids = dict(enumerate(ids))
        mapped = []
        for result in results:
            if result["category_id"] not in category_ids:
                raise ConfigError(
                    f"the model predicts class {result['category_id']}, but {self._dataset_name} "
                    f"has {len(category_ids)} classes; set MODEL.ROI_HEADS.NUM_CLASSES"
                )
            mapped.append({**result, "category_id": category_ids[result["category_id"]]})
        return mapped

    def _tasks(self, has_masks: bool) -> list[str]:
        if not has_masks:
            return ["bbox"]
        annotations = self._truth["annotations"]
        if annotations and not any("segmentation" in entry for entry in annotations):
            logger.warning("%s has boxes only: masks are not judged", self._dataset_name)
            return ["bbox"]
        return ["bbox", "segm"]

    def _report(self, metrics: Mapping[str, Mapping[str, float]], detections: int) -> None:
        summary = {
            "dataset": self._dataset_name,
            "images": len(self._truth["images"]),
            "truths": len(self._truth["annotations"]),
            "detections": detections,
            "max_dets": self._max_dets,
            "area_bins": list(self._area_bins),
            **metrics,
        }
        logger.info("COCO metrics\n%s", coco_metrics_table(summary))
        if self._output_dir is not None:
            write_coco_metrics(self._output_dir, summary)


def to_coco(instances: Instances, image_id: Any) -> list[dict[str, Any]]:
    """Detectron2's ``instances_to_coco_json``, which also takes masks that are RLE already.

    Args:
        instances: detections of one image, on the CPU; ``pred_masks`` full-image or RleMasks.
        image_id: of the image, for every result.
    """
    if not (instances.has("pred_masks") and isinstance(instances.pred_masks, RleMasks)):
        return instances_to_coco_json(instances, image_id)
    rest = Instances(instances.image_size, **instances.get_fields())
    rest.remove("pred_masks")
    results = instances_to_coco_json(rest, image_id)
    for result, rle in zip(results, instances.pred_masks.rles, strict=True):
        result["segmentation"] = rle
    return results


def coco_metrics_table(summary: Mapping[str, Any]) -> str:
    """The metrics as a Markdown table with a line above that says what was measured.

    Args:
        summary: what ``coco_metrics.json`` holds: dataset, images, max_dets, area_bins, and by task
            ("bbox", "segm") a dict from metric to percent; nan and None become "n/a".
    """
    rows = [task for task in ("bbox", "segm") if task in summary]
    names = [*METRICS]
    for task in rows:
        names += [name for name in summary[task] if name not in names]
    table = tabulate(
        [[task, *(_cell(summary[task].get(name)) for name in names)] for task in rows],
        headers=["task", *names],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] + ["right"] * len(names),
    )
    small, medium = summary["area_bins"]
    return (
        f"{summary['dataset']}: {summary['images']} images, "
        f"up to {summary['max_dets']} detections an image, in percent; small objects have up to "
        f"{small:g} pixels, medium ones up to {medium:g}\n\n{table}"
    )


def write_coco_metrics(output_dir: str | os.PathLike, summary: Mapping[str, Any]) -> None:
    """Write ``summary`` (see :func:`coco_metrics_table`) as coco_metrics.json and coco_metrics.md.

    nan is not JSON: it is written as null.
    """
    nulled = {
        key: {name: _null(number) for name, number in value.items()}
        if isinstance(value, Mapping)
        else value
        for key, value in summary.items()
    }
    write_json(Path(output_dir) / METRICS_FILE, nulled, indent=2)
    write_text(Path(output_dir) / TABLE_FILE, coco_metrics_table(summary) + "\n")


def _null(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _cell(value: float | None) -> str:
    return "n/a" if _null(value) is None else f"{value:.2f}"
