"""Detectron2's trainer with the evaluation of this project."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm

from maskrcnnpp.data.mapper import find_mapper
from maskrcnnpp.data.own_files import folder_name
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.evaluation.coco_evaluation import COCOInstanceEvaluator
from maskrcnnpp.inference import with_rle_masks
from maskrcnnpp.modeling.checkpoint import Checkpointer


class Trainer(DefaultTrainer):
    """``DefaultTrainer`` with COCO AP at ``TEST.DETECTIONS_PER_IMAGE`` detections an image."""

    @property
    def results(self) -> dict:
        """Of the last evaluation while training; empty before one."""
        # DefaultTrainer returns them from train() only where TEST.EXPECTED_RESULTS is set
        return getattr(self, "_last_eval_results", {})

    def build_hooks(self) -> list[HookBase]:
        # DefaultTrainer has just made one that leaves nodes of another grid at random
        self.checkpointer = Checkpointer(
            self.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        return super().build_hooks()

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict]]:
        """Detectron2's loader; with a ``SEED``, worker processes augment alike in every run.

        Without one of its own the loader draws the workers' seeds from PyTorch's global
        generator, whose state depends on how many weights the model has drawn before.
        """
        seed = None if cfg.SEED < 0 else cfg.SEED + comm.get_rank()
        return build_detection_train_loader(cfg, mapper=find_mapper(cfg, True), seed=seed)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        """Detectron2's loader, with the mapper that the config asks for."""
        return build_detection_test_loader(cfg, dataset_name, mapper=find_mapper(cfg, False))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return COCOInstanceEvaluator(
            dataset_name=dataset_name,
            output_dir=os.path.join(cfg.OUTPUT_DIR, "inference", folder_name(dataset_name)),
            max_dets_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
            area_bins=cfg.TEST.AREA_BINS,
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: torch.nn.Module,
        evaluators: Sequence[DatasetEvaluator] | None = None,
    ) -> dict:
        """Detectron2's, without a full-image mask for each detection."""
        return super().test(cfg, with_rle_masks(model), evaluators)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Detectron2's SGD, or AdamW with the same parameter groups and gradient clipping.

        Raises:
            ConfigError: ``SOLVER.OPTIMIZER`` is neither.
        """
        if cfg.SOLVER.OPTIMIZER == "SGD":
            return super().build_optimizer(cfg, model)
        if cfg.SOLVER.OPTIMIZER != "AdamW":
            raise ConfigError(
                f"SOLVER.OPTIMIZER is {cfg.SOLVER.OPTIMIZER!r}; it can be 'SGD' or 'AdamW'"
            )
        params = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        optimizer = maybe_add_gradient_clipping(cfg, torch.optim.AdamW)
        return optimizer(
            params,
            lr=cfg.SOLVER.BASE_LR,
            weight_decay=cfg.SOLVER.WEIGHT_DECAY,
            # one pass over weights and moments, which take a while on a CPU. With mixed precision
            # a fused step would get gradients still scaled, and clip them as they are.
            fused=not cfg.SOLVER.AMP.ENABLED,
        )
