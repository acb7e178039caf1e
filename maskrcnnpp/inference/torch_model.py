"""Models of PyTorch: Detectron2's, of a config and a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Instances
from torch import nn

from maskrcnnpp.config_reader import build_config, check_device, check_weights
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.environment import bound_convolution_cache
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.images.intensity import ModelInput
from maskrcnnpp.inference.backend import Backend, Found, Trained
from maskrcnnpp.inference.magnification import SURE
from maskrcnnpp.inference.naming import find_naming
from maskrcnnpp.inference.options import PRECISIONS, Options
from maskrcnnpp.inference.record import config_settings, digest
from maskrcnnpp.inference.semantic_instances import ObjectFinder
from maskrcnnpp.inference.tta import AugmentedRCNN
from maskrcnnpp.modeling.checkpoint import load_to_use
from maskrcnnpp.modeling.pruning import depth_key
from maskrcnnpp.modeling.roi_heads_keys import check_roi_heads
from maskrcnnpp.modeling.semantic_depths import is_unet
from maskrcnnpp.modeling.speed import apply_memory_format_and_compile

# layers whose output at a pixel depends on all pixels of the image
_OF_AN_IMAGE = (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
# of the score from which objects are kept, what the model itself leaves out below: a little less,
# so that rounding in lower precision decides nothing
_LEFT_OUT = 0.98


class TorchBackend(Backend):
    """A module."""

    def __init__(self, model: nn.Module, precision: str = PRECISIONS[0]) -> None:
        """
        Args:
            model: a Mask R-CNN, an :class:`AugmentedRCNN`, or a ``SemanticSegmentor`` whose head
                gives probabilities. It is set to evaluation mode.
            precision: one of :data:`PRECISIONS`.
        """
        self.model = model.eval()
        self.looks_twice = isinstance(model, AugmentedRCNN)
        self._dtype = None if precision == PRECISIONS[0] else getattr(torch, precision)
        if self._dtype is not None:
            pool_in_float32(model)

    def norms_of_image(self) -> list[str]:
        return norms_of_image(self.model)

    def objects(self, images: Sequence[np.ndarray], score_threshold: float) -> list[Found]:
        inputs = [{"image": torch.from_numpy(image)} for image in images]
        with self._computing():
            outputs = self.model.inference(inputs, do_postprocess=False)
        return [_found(instances) for instances in outputs]

    def probabilities(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self._computing():
            outputs = self.model([{"image": torch.from_numpy(image)} for image in images])
        return [output["sem_seg"].float().cpu().numpy() for output in outputs]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        dtype = self._dtype
        device = next(self.model.parameters()).device.type if dtype else "cpu"
        with torch.no_grad(), torch.autocast(device, dtype, enabled=dtype is not None):
            yield


def _found(instances: Instances) -> Found:
    kept = instances.to("cpu")
    height, width = kept.image_size
    return Found(
        height,
        width,
        boxes=kept.pred_boxes.tensor.float().numpy(),
        scores=kept.scores.float().numpy(),
        categories=kept.pred_classes.numpy(),
        masks=kept.pred_masks.flatten(0, 1).float().numpy(),  # of (N, 1, M, M)
        box_scores=kept.box_scores.float().numpy() if kept.has("box_scores") else None,
    )


def trained_of_config(
    config_file: str | os.PathLike,
    weights: str | os.PathLike,
    opts: Sequence[str] = (),
    depth: int | None = None,
    classes: Sequence[str] | None = None,
) -> Trained:
    """A training.

    Args:
        config_file: ``config.yaml`` of its OUTPUT_DIR.
        weights: a checkpoint.
        opts: KEY VALUE overrides.
        depth: of the grid; None: the config's.
        classes: names that the model's card has.

    Raises:
        ConfigError: a file is missing or does not fit, or a key is impossible here.
    """
    if not str(weights):
        raise ConfigError("weights are empty: name the checkpoint of a training")
    if depth is not None:
        opts = [*opts, depth_key(build_config(str(config_file), opts)), str(depth)]
    cfg = build_config(str(config_file), [*opts, "MODEL.WEIGHTS", str(weights)])
    check_device(cfg)
    check_weights(cfg)
    check_image_size(cfg)
    check_roi_heads(cfg)
    if is_semantic(cfg) and not is_unet(cfg):
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE} and MODEL.BACKBONE.NAME "
            f"{cfg.MODEL.BACKBONE.NAME}; SemanticPredictor is for the U-Net family"
        )
    if not is_semantic(cfg) and not cfg.MODEL.MASK_ON:
        raise ConfigError("MODEL.MASK_ON is False; Predictor is for models with masks")

    return Trained(
        backend="torch",
        is_semantic=is_semantic(cfg),
        model_input=ModelInput.from_config(cfg),
        channels=list(cfg.INPUT.CHANNELS),
        scale=cfg.INPUT.SCALE,
        detection_limit=None if is_semantic(cfg) else cfg.TEST.DETECTIONS_PER_IMAGE,
        find_objects=asdict(ObjectFinder.from_config(cfg)) if is_semantic(cfg) else None,
        load=partial(_load, cfg),
        naming=partial(find_naming, cfg, classes=classes),
        settings=partial(_settings, cfg, weights),
    )


def _settings(cfg: CfgNode, weights: str | os.PathLike) -> dict[str, Any]:
    return {"config": config_settings(cfg), "weights": digest(weights)}


def _load(cfg: CfgNode, options: Options) -> TorchBackend:
    bound_convolution_cache()
    cfg = cfg.clone()
    cfg.defrost()
    heads = cfg.MODEL.ROI_HEADS
    # masks are computed of what is left; suppression takes no object that has a higher score
    lowest = min(options.score_threshold, SURE)  # the estimate of sizes counts from there
    heads.SCORE_THRESH_TEST = max(heads.SCORE_THRESH_TEST, _LEFT_OUT * lowest)
    model = apply_memory_format_and_compile(build_model(cfg), cfg)
    load_to_use(model, cfg)
    if options.is_augmented and not is_semantic(cfg):
        model = AugmentedRCNN(
            cfg,
            model,
            flips=options.flips,
            scales=options.scales,
            batch_size=options.batch_size,
        )
    return TorchBackend(model, options.precision)


def check_image_size(cfg: CfgNode) -> None:
    """Check that images are predicted at the size that they have.

    Raises:
        ConfigError: they are not.
    """
    if cfg.INPUT.MIN_SIZE_TEST != 0:
        raise ConfigError(
            f"INPUT.MIN_SIZE_TEST is {cfg.INPUT.MIN_SIZE_TEST}, which would resize each tile; "
            "set it to 0 and give images at the magnification of the training, or scales"
        )


def norms_of_image(model: nn.Module) -> list[str]:
    """Names of the model's normalizations by which a tile is taken for a whole image.

    Those of heads that see one object at a time do not matter.
    """
    parts = [part for name, part in model.named_modules() if "roi_heads" not in name.split(".")]
    return sorted({type(part).__name__ for part in parts if isinstance(part, _OF_AN_IMAGE)})


def pool_in_float32(model: nn.Module) -> None:
    """Let RoIs be pooled at their exact places under autocast.

    Detectron2's ROIPooler rounds boxes to the precision of the features, in bfloat16 to multiples
    of 4 pixels at place 512.
    """
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_in_float32)


def _in_float32(_: nn.Module, args: tuple) -> tuple:
    features, boxes = args
    return [level.float() for level in features], boxes
