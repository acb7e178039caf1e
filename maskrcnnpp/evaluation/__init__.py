"""Metrics of predictions."""

from maskrcnnpp.coco.file import load_coco_truth
from maskrcnnpp.evaluation.coco_evaluation import (
    COCOInstanceEvaluator,
    coco_metrics_table,
    write_coco_metrics,
)
from maskrcnnpp.evaluation.coco_metrics import (
    coco_average_precision,
)

__all__ = [
    "COCOInstanceEvaluator",
    "coco_average_precision",
    "coco_metrics_table",
    "load_coco_truth",
    "write_coco_metrics",
]
