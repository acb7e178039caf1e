"""COCO average precision without the cut at 100 detections an image. Needs no Detectron2.

The matching itself is faster-coco-eval's, which gives pycocotools' numbers at a fraction of the
time. Here are only the loading, the checks whose lack would end in a wrong number or an obscure
crash, and the averages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from faster_coco_eval import COCO, COCOeval_faster

from maskrcnnpp.coco.file import ANNOTATION_KEYS, load_coco_truth
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.parse import as_rle

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "ARs", "ARm", "ARl")
#: Areas in pixels between small and medium, and medium and large objects.
COCO_AREA_BINS = (32**2, 96**2)


def coco_average_precision(
    truth: str | os.PathLike | Mapping[str, Any] | Any,
    results: Sequence[Mapping[str, Any]],
    iou_type: str,
    max_dets: int,
    area_bins: tuple[float, float] = COCO_AREA_BINS,
) -> dict[str, float]:
    """COCO AP and AR of ``results``, counting up to ``max_dets`` detections an image and category.

    Neither argument is changed.

    Args:
        truth: path of a COCO annotation file, its dict, or a pycocotools / faster-coco-eval COCO
            object. Annotation ids do not matter (pycocotools itself counts a truth whose id is 0
            as never found).
        results: COCO results: ``image_id``, ``category_id``, ``score`` and ``bbox`` (x, y, width,
            height in pixels) or ``segmentation`` (RLE, counts as str or bytes, or polygons).
        iou_type: "bbox" or "segm".
        max_dets: how many detections of an image and category count, best scores first; >= 1.
        area_bins: areas in pixels up to which an object is small, and medium; COCO's are 32x32 and
            96x96.

    Returns:
        AP (IoU 0.50:0.95), AP50, AP75, AP of small (APs), medium (APm) and large objects (APl),
        and AR, the recall over IoU 0.50:0.95, likewise; with more than one category also
        "AP-<name>" of each. All in 0..100; nan where there are no truths to find.

    Raises:
        DataError: truth or results do not fit together; the message names the entry.
        ValueError: ``iou_type``, ``max_dets`` or ``area_bins`` is impossible.
    """
    if iou_type not in ("bbox", "segm"):
        raise ValueError(f"iou_type must be 'bbox' or 'segm', not {iou_type!r}")
    if max_dets < 1:
        raise ValueError(f"max_dets must be at least 1, not {max_dets}")
    small, medium = area_bins
    if not 0 < small < medium:
        raise ValueError(f"area_bins must be two rising areas above 0, not {list(area_bins)}")
    if isinstance(truth, (str, os.PathLike)):
        truth = load_coco_truth(truth)
    dataset = truth if isinstance(truth, Mapping) else truth.dataset

    evaluator = COCOeval_faster(
        _as_coco(dataset, _truth_annotations(dataset, iou_type)),
        _as_coco(dataset, _result_annotations(dataset, results, iou_type)),
        iou_type,
        print_function=lambda *_: None,
    )
    # One limit, not COCO's three: the other two serve only AR@1 and AR@10, and [1, 10, m] is
    # sorted by the evaluator, so that for m below 10 AP would be taken at 10.
    evaluator.params.maxDets = [max_dets]
    most = evaluator.params.areaRng[0][1]
    evaluator.params.areaRng = [[0, most], [0, small], [small, medium], [medium, most]]
    evaluator.evaluate()
    evaluator.accumulate()
    return _averages(evaluator, dataset["categories"])


def _as_coco(dataset: Mapping[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    # Not COCO(dict) and loadRes: both change the caller's dicts, and loadRes takes an object's
    # size from its box even where the mask is judged.
    coco = COCO()
    coco.dataset = {
        "images": [dict(image) for image in dataset["images"]],
        "categories": dataset["categories"],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _truth_annotations(dataset: Mapping[str, Any], iou_type: str) -> list[dict[str, Any]]:
    """Copies of the truths with the keys the metric reads, numbered from 1."""
    sizes = image_sizes(dataset)
    # masks have their own place
    needed = [key for key in ANNOTATION_KEYS if key != "bbox" or iou_type == "bbox"]
    copies = []
    for number, annotation in enumerate(dataset.get("annotations", []), start=1):
        if missing := [key for key in needed if key not in annotation]:
            name = annotation.get("id", f"number {number - 1}")
            raise DataError(f"truth annotation {name} has no {missing[0]!r}")
        copy = {key: annotation[key] for key in needed}
        copy["iscrowd"] = int(annotation.get("iscrowd", 0))
        copy["id"] = number
        if iou_type == "segm":
            segmentation = annotation.get("segmentation")
            if segmentation is None:
                name = annotation.get("id", f"number {number - 1}")
                raise DataError(f"truth annotation {name} has no 'segmentation'")
            if isinstance(segmentation, Mapping):
                check_mask_size(segmentation, copy["image_id"], sizes)
            copy["segmentation"] = segmentation
        copies.append(copy)
    return copies


def _result_annotations(
    dataset: Mapping[str, Any], results: Sequence[Mapping[str, Any]], iou_type: str
) -> list[dict[str, Any]]:
    """Copies of the results with area and id, checked against the truth's images."""
    key = "bbox" if iou_type == "bbox" else "segmentation"
    sizes = image_sizes(dataset)
    categories = {category["id"] for category in dataset["categories"]}
    copies = []
    for number, result in enumerate(results, start=1):
        check_result(result, key, sizes, categories)
        image_id = result["image_id"]
        value = result[key]
        if iou_type == "bbox":
            area = value[2] * value[3]
        else:
            value = as_rle(value, *sizes[image_id])
            check_mask_size(value, image_id, sizes)
            area = float(mask_util.area(value))
        copies.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": result["category_id"],
                "score": float(result["score"]),
                key: value,
                "area": area,
                "iscrowd": 0,
            }
        )
    return copies


def image_sizes(dataset: Mapping[str, Any]) -> dict[Any, tuple[int, int]]:
    """Height and width of each image by its id.

    Raises:
        DataError: it is not the dict of a COCO file.
    """
    try:
        return {image["id"]: (image["height"], image["width"]) for image in dataset["images"]}
    except KeyError as error:
        raise DataError(f"the truth is not COCO: {error} is missing") from error


def check_result(result: Mapping[str, Any], key: str, sizes: Mapping, categories: set) -> None:
    """Check what both matchings take for granted of a result.

    Raises:
        DataError: a key is missing, the image or category is not the truth's, or the score is not
            a number.
    """
    if missing := [name for name in ("image_id", "category_id", "score") if name not in result]:
        raise DataError(f"a result has no {missing[0]!r}: {str(result)[:80]}")
    image_id = result["image_id"]
    if image_id not in sizes:
        raise DataError(f"a result is of image {image_id}, which is not in the truth")
    if result["category_id"] not in categories:
        raise DataError(
            f"a result of image {image_id} has the category {result['category_id']}; the truth "
            f"has {sorted(categories)}"
        )
    if result.get(key) is None:
        raise DataError(f"a result of image {image_id} has no {key!r}")
    if not np.isfinite(result["score"]):
        raise DataError(f"a result of image {image_id} has the score {result['score']}")


def check_mask_size(rle: Mapping[str, Any], image_id: Any, sizes: Mapping) -> None:
    # the evaluator finds no overlap between masks of unlike sizes: AP 0 without a word
    if image_id in sizes and tuple(rle["size"]) != sizes[image_id]:
        raise DataError(
            f"a mask of image {image_id} has the size {tuple(rle['size'])}, the image "
            f"{sizes[image_id]} (height, width)"
        )


def _averages(evaluator: COCOeval_faster, categories: Sequence[Mapping]) -> dict[str, float]:
    # precision: IoU x recall x category x area range x limit; recall: the same without recall.
    # -1 marks a category that has no truth in the area range.
    precision = np.asarray(evaluator.eval["precision"])[..., 0]
    recall = np.asarray(evaluator.eval["recall"])[..., 0]
    ious = evaluator.params.iouThrs
    area = {label: index for index, label in enumerate(evaluator.params.areaRngLbl)}

    values = {
        "AP": precision[..., area["all"]],
        "AP50": precision[np.isclose(ious, 0.5)][..., area["all"]],
        "AP75": precision[np.isclose(ious, 0.75)][..., area["all"]],
        "APs": precision[..., area["small"]],
        "APm": precision[..., area["medium"]],
        "APl": precision[..., area["large"]],
        "AR": recall[..., area["all"]],
        "ARs": recall[..., area["small"]],
        "ARm": recall[..., area["medium"]],
        "ARl": recall[..., area["large"]],
    }
    if len(categories) > 1:
        # the evaluator sorts its categories by id
        for index, category in enumerate(sorted(categories, key=lambda entry: entry["id"])):
            values[f"AP-{category.get('name', category['id'])}"] = precision[
                :, :, index, area["all"]
            ]
    return {name: _percent(value) for name, value in values.items()}


def _percent(values: np.ndarray) -> float:
    values = values[values > -1]
    return float(values.mean() * 100) if values.size else float("nan")
