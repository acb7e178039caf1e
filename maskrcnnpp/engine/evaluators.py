"""The evaluator of a data set, by the model and by the kind of truth."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from detectron2 import evaluation
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from maskrcnnpp.data.named_by_file import folder_name
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.evaluation.coco_evaluation import COCOInstanceEvaluator
from maskrcnnpp.evaluation.semantic_evaluation import ObjectsOfSemantic, SemanticEvaluator
from maskrcnnpp.inference.semantic_instances import ObjectFinder
from maskrcnnpp.modeling.sem_seg_head import class_labels, has_deep_head

_COCO = "coco"
_PANOPTIC = "coco_panoptic_seg"
_CITYSCAPES = "cityscapes_instance"
# evaluator_type of a data set, None where it names none: the package that its evaluator needs
_OF_OBJECTS = {
    None: None,
    _COCO: None,
    _PANOPTIC: None,
    "lvis": "lvis",
    "pascal_voc": None,
    _CITYSCAPES: "cityscapesscripts",
}


def check_evaluator(cfg: CfgNode, dataset_name: str) -> None:
    """Check that there is an evaluator for a data set of DATASETS.TEST.

    Raises:
        ConfigError: there is none for its ``evaluator_type``, or it needs a package.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    package = _OF_OBJECTS.get(kind)
    if is_semantic(cfg):
        package = "cityscapesscripts" if _is_cityscapes(cfg, kind) else None
    elif kind not in _OF_OBJECTS:
        raise ConfigError(
            f"DATASETS.TEST names {dataset_name}, whose evaluator_type is {kind!r}; objects are "
            f"evaluated by {', '.join(filter(None, _OF_OBJECTS))}"
        )
    elif kind == _PANOPTIC and _is_panoptic(cfg):
        package = "panopticapi"
    if package and importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"DATASETS.TEST names {dataset_name}, whose evaluator_type {kind!r} needs the package "
            f"{package}, which is not installed"
        )


def needs_full_masks(cfg: CfgNode) -> bool:
    """Whether an evaluator of Detectron2 takes masks as large as the image only."""
    kinds = (MetadataCatalog.get(name).get("evaluator_type") for name in cfg.DATASETS.TEST)
    return _CITYSCAPES in kinds


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
    """The evaluator of a data set: this project's, or that of Detectron2 for its evaluator_type.

    COCO AP of a model of objects, with keypoints and panoptic segments where the model has them;
    IoU of a semantic model, and AP where the truth has objects.

    Raises:
        ConfigError: see :func:`check_evaluator`.
    """
    check_evaluator(cfg, dataset_name)
    folder = os.path.join(cfg.OUTPUT_DIR, "inference", folder_name(dataset_name))
    of_objects: dict[str, Any] = {
        "dataset_name": dataset_name,
        "output_dir": folder,
        "max_dets_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        "area_bins": cfg.TEST.AREA_BINS,
    }
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if is_semantic(cfg):
        return _of_semantic(cfg, dataset_name, kind, of_objects)
    if kind == "lvis":
        return evaluation.LVISEvaluator(
            dataset_name, output_dir=folder, max_dets_per_image=cfg.TEST.DETECTIONS_PER_IMAGE
        )
    if kind == "pascal_voc":
        return evaluation.PascalVOCDetectionEvaluator(dataset_name)
    if kind == _CITYSCAPES:
        return evaluation.CityscapesInstanceEvaluator(dataset_name)
    evaluators: list[DatasetEvaluator] = [COCOInstanceEvaluator(**of_objects)]
    if cfg.MODEL.KEYPOINT_ON:
        evaluators.append(
            evaluation.COCOEvaluator(
                dataset_name,
                tasks=("keypoints",),
                output_dir=os.path.join(folder, "keypoints"),
                use_fast_impl=False,
                kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
            )
        )
    if kind == _PANOPTIC and _is_panoptic(cfg):
        evaluators.append(evaluation.SemSegEvaluator(dataset_name, output_dir=folder))
        evaluators.append(
            evaluation.COCOPanopticEvaluator(dataset_name, os.path.join(folder, "panoptic"))
        )
    return evaluators[0] if len(evaluators) == 1 else DatasetEvaluators(evaluators)


def _is_panoptic(cfg: CfgNode) -> bool:
    return cfg.MODEL.META_ARCHITECTURE == "PanopticFPN"


def _is_cityscapes(cfg: CfgNode, kind: str | None) -> bool:
    return kind == "cityscapes_sem_seg" and not has_deep_head(cfg)


def _of_semantic(
    cfg: CfgNode, dataset_name: str, kind: str | None, of_objects: dict[str, Any]
) -> DatasetEvaluator:
    """Stock heads are judged by Detectron2's own evaluators."""
    if _is_cityscapes(cfg, kind):
        return evaluation.CityscapesSemSegEvaluator(dataset_name)
    if not has_deep_head(cfg):
        return evaluation.SemSegEvaluator(dataset_name, output_dir=of_objects["output_dir"])
    head = cfg.MODEL.SEM_SEG_HEAD
    evaluators: list[DatasetEvaluator] = [
        SemanticEvaluator(
            dataset_name,
            class_labels=class_labels(head.ACTIVATION, head.NUM_CLASSES, head.REGIONS),
            exclusive=head.ACTIVATION == "softmax",
            ignore_value=head.IGNORE_VALUE,
            output_dir=of_objects["output_dir"],
        )
    ]
    if kind == _COCO and not head.REGIONS:
        evaluators.append(ObjectsOfSemantic(ObjectFinder.from_config(cfg), **of_objects))
    return DatasetEvaluators(evaluators)
