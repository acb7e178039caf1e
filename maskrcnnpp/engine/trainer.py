"""Detectron2's trainer with the evaluation of this project."""

from __future__ import annotations

import os

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator

from maskrcnnpp.evaluation.coco_evaluation import COCOInstanceEvaluator


class Trainer(DefaultTrainer):
    """``DefaultTrainer`` that evaluates COCO AP at ``TEST.DETECTIONS_PER_IMAGE`` detections."""

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return COCOInstanceEvaluator(
            dataset_name=dataset_name,
            output_dir=os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name),
            max_dets_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
        )
