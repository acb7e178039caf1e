"""The evaluator of a data set, by the model and by what truth there is."""

from __future__ import annotations

import os
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, SemSegEvaluator

from maskrcnnpp.data.own_files import folder_name
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.evaluation.coco_evaluation import COCOInstanceEvaluator
from maskrcnnpp.evaluation.semantic_evaluation import ObjectsOfSemantic, SemanticEvaluator
from maskrcnnpp.inference.semantic_instances import ObjectFinder
from maskrcnnpp.modeling.sem_seg_head import class_labels, has_deep_head


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
    """COCO AP of a model of objects; of a semantic one IoU, and AP where the truth has objects.

    Stock heads of semantic segmentation are judged by Detectron2's own evaluator.
    """
    folder = os.path.join(cfg.OUTPUT_DIR, "inference", folder_name(dataset_name))
    of_objects: dict[str, Any] = {
        "dataset_name": dataset_name,
        "output_dir": folder,
        "max_dets_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        "area_bins": cfg.TEST.AREA_BINS,
    }
    if not is_semantic(cfg):
        return COCOInstanceEvaluator(**of_objects)
    if not has_deep_head(cfg):
        return SemSegEvaluator(dataset_name, output_dir=folder)
    head = cfg.MODEL.SEM_SEG_HEAD
    evaluators: list[DatasetEvaluator] = [
        SemanticEvaluator(
            dataset_name,
            class_labels=class_labels(head.ACTIVATION, head.NUM_CLASSES, head.REGIONS),
            exclusive=head.ACTIVATION == "softmax",
            ignore_value=head.IGNORE_VALUE,
            output_dir=folder,
        )
    ]
    if MetadataCatalog.get(dataset_name).get("evaluator_type") == "coco" and not head.REGIONS:
        evaluators.append(ObjectsOfSemantic(ObjectFinder.from_config(cfg), **of_objects))
    return DatasetEvaluators(evaluators)
