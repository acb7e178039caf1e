"""Overlaps of detections with truths: one pass over the masks, as RLE."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from maskrcnnpp.errors import DataError
from maskrcnnpp.evaluation.coco_metrics import (
    check_mask_size,
    check_result,
    image_sizes,
)
from maskrcnnpp.masks.parse import as_rle

Rle = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Truths, detections and their overlapping pairs, over all images of a data set.

    Truths and detections are numbered through, image by image; detections of an image come best
    score first. A pair is of one image and one category, and shares at least a pixel.
    """

    image_ids: list[Any]
    category_ids: list[Any]
    truth_image: np.ndarray  #: int64 (T,), index into image_ids
    truth_category: np.ndarray  #: int64 (T,), index into category_ids
    truth_area: np.ndarray  #: int64 (T,), pixels
    truth_masks: list[Rle]
    detection_image: np.ndarray  #: int64 (D,)
    detection_category: np.ndarray  #: int64 (D,)
    detection_area: np.ndarray  #: int64 (D,)
    detection_masks: list[Rle]
    score: np.ndarray  #: float64 (D,)
    pair_detection: np.ndarray  #: int64 (P,), index of the pair's detection
    pair_truth: np.ndarray  #: int64 (P,), index of the pair's truth
    intersection: np.ndarray  #: int64 (P,), pixels
    iou: np.ndarray  #: float64 (P,), above 0

    @property
    def union(self) -> np.ndarray:
        """Pixels of either mask of each pair, int64 (P,)."""
        areas = self.detection_area[self.pair_detection] + self.truth_area[self.pair_truth]
        return areas - self.intersection

    def above(self, score: float) -> Overlaps:
        """The same with only the detections of that score or more."""
        kept = self.score >= score
        number = np.cumsum(kept) - 1
        pairs = kept[self.pair_detection]
        return replace(
            self,
            detection_image=self.detection_image[kept],
            detection_category=self.detection_category[kept],
            detection_area=self.detection_area[kept],
            detection_masks=[mask for mask, keep in zip(self.detection_masks, kept) if keep],
            score=self.score[kept],
            pair_detection=number[self.pair_detection[pairs]],
            pair_truth=self.pair_truth[pairs],
            intersection=self.intersection[pairs],
            iou=self.iou[pairs],
        )


def find_overlaps(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], max_dets: int
) -> Overlaps:
    """Overlaps of COCO results with a COCO data set.

    Args:
        truth: a COCO dict, as :func:`maskrcnnpp.evaluation.load_coco_truth` reads it.
        results: COCO results with ``segmentation`` (RLE, or polygons).
        max_dets: how many detections of an image and category count, best scores first; >= 1.

    Raises:
        DataError: a result is of an unknown image or category, has no mask, or one of another
            size; or an annotation is of a crowd, which has no single objects to match.
    """
    sizes = image_sizes(truth)
    truths = _truth_groups(truth, sizes)
    category_ids = sorted(category["id"] for category in truth["categories"])
    detections = _detection_groups(results, sizes, set(category_ids), max_dets)
    # COCO's order, which decides between detections of equal score
    image_ids = sorted(sizes)

    columns: dict[str, list] = defaultdict(list)
    for index, image_id in enumerate(image_ids):
        for category, category_id in enumerate(category_ids):
            masks = truths.get((image_id, category_id), [])
            found = detections.get((image_id, category_id), [])
            _append(columns, masks, found)
            for side, objects in (("truth", masks), ("detection", found)):
                columns[f"{side}_image"] += [index] * len(objects)
                columns[f"{side}_category"] += [category] * len(objects)
    integers = {
        name: np.asarray(columns[name], dtype=np.int64)
        for side in ("truth", "detection")
        for name in (f"{side}_image", f"{side}_category", f"{side}_area")
    }
    pairs = {
        name: np.concatenate([np.zeros(0, dtype), *columns[name]])
        for name, dtype in (
            ("pair_detection", np.int64),
            ("pair_truth", np.int64),
            ("intersection", np.int64),
            ("iou", np.float64),
        )
    }
    return Overlaps(
        image_ids=image_ids,
        category_ids=category_ids,
        truth_masks=columns["truth_masks"],
        detection_masks=columns["detection_masks"],
        score=np.asarray(columns["score"], dtype=np.float64),
        **integers,
        **pairs,
    )


def _append(columns: dict[str, list], truths: list[Rle], found: list[tuple[float, Rle]]) -> None:
    """Add the masks of one image and category, and their pairs, to ``columns``."""
    masks = [mask for _, mask in found]
    # one by one: pycocotools fails on lists of more than 255
    truth_area = np.array([mask_util.area(mask) for mask in truths], dtype=np.int64)
    area = np.array([mask_util.area(mask) for mask in masks], dtype=np.int64)
    if truths and masks:
        iou = np.asarray(mask_util.iou(masks, truths, [0] * len(truths)))
        detection, truth = np.nonzero(iou)
        iou = iou[detection, truth]
        # i / (a + b - i) = iou, so i is a whole number that rounding gives back exactly
        areas = area[detection] + truth_area[truth]
        columns["intersection"].append(np.rint(iou * areas / (1 + iou)).astype(np.int64))
        columns["iou"].append(iou)
        columns["pair_detection"].append(detection + len(columns["detection_masks"]))
        columns["pair_truth"].append(truth + len(columns["truth_masks"]))
    columns["truth_area"] += truth_area.tolist()
    columns["truth_masks"] += truths
    columns["detection_area"] += area.tolist()
    columns["detection_masks"] += masks
    columns["score"] += [score for score, _ in found]


def _truth_groups(truth: Mapping[str, Any], sizes: Mapping) -> dict[tuple, list[Rle]]:
    groups: dict[tuple, list[Rle]] = defaultdict(list)
    for annotation in truth.get("annotations", []):
        if annotation.get("iscrowd"):
            raise DataError(
                f"truth annotation {annotation.get('id')} is of a crowd (iscrowd 1), which cannot "
                "be matched object by object: remove it"
            )
        for key in ("image_id", "category_id", "segmentation"):
            if annotation.get(key) is None:
                raise DataError(f"truth annotation {annotation.get('id')} has no '{key}'")
        image_id = annotation["image_id"]
        if image_id not in sizes:
            raise DataError(f"an annotation is of image {image_id}, which is not in 'images'")
        rle = as_rle(annotation["segmentation"], *sizes[image_id])
        check_mask_size(rle, image_id, sizes)
        groups[image_id, annotation["category_id"]].append(rle)
    return groups


def _detection_groups(
    results: Sequence[Mapping[str, Any]], sizes: Mapping, categories: set, max_dets: int
) -> dict[tuple, list[tuple[float, Rle]]]:
    groups: dict[tuple, list[tuple[float, Rle]]] = defaultdict(list)
    for result in results:
        check_result(result, "segmentation", sizes, categories)
        image_id = result["image_id"]
        rle = as_rle(result["segmentation"], *sizes[image_id])
        check_mask_size(rle, image_id, sizes)
        groups[image_id, result["category_id"]].append((float(result["score"]), rle))
    # sorted() is stable, as COCO's order of equal scores is
    return {
        key: sorted(found, key=lambda entry: -entry[0])[:max_dets] for key, found in groups.items()
    }
