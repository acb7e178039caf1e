"""A trained model on images of any size: arrays in, objects out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Instances
from torch import nn

from maskrcnnpp.errors import ConfigError, printable
from maskrcnnpp.images import Raster
from maskrcnnpp.images.intensity import Limits
from maskrcnnpp.inference.candidates import Candidates
from maskrcnnpp.inference.magnification import SURE, estimate_scale
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.overlaps import resolve_overlaps
from maskrcnnpp.inference.precision import pool_in_float32
from maskrcnnpp.inference.tiled import TiledPredictor
from maskrcnnpp.inference.tiling import Detection, Tile
from maskrcnnpp.inference.tta import AugmentedRCNN
from maskrcnnpp.masks.paste import paste_masks

logger = logging.getLogger(__name__)


class Predictor(TiledPredictor):
    """Find the objects of an image, in overlapping tiles where it is large.

    Each object is that of the image as a whole, not of a tile; see
    :func:`maskrcnnpp.inference.tiling.merge_tiles`. Memory grows with a tile and with the number
    of objects, not with objects times image.
    """

    model: GeneralizedRCNN | AugmentedRCNN

    def __init__(
        self,
        model: GeneralizedRCNN | AugmentedRCNN,
        *,
        detection_limit: int | None = None,
        trained_diameter: float | None = None,
        **more: Any,
    ) -> None:
        """
        Args:
            model: with a mask head. Flips and scales need one that has them
                (:class:`AugmentedRCNN`), as :meth:`load` makes it.
            detection_limit: objects of a tile at which the model stops
                (TEST.DETECTIONS_PER_IMAGE); tiles that have as many are reported.
            trained_diameter: median of the objects of its training, pixels; with it images are
                resized by the diameter of their objects (``diameter`` of the options).
            more: see :class:`maskrcnnpp.inference.tiled.TiledPredictor`.

        Raises:
            ConfigError: an option is impossible.
        """
        super().__init__(model, **more)
        self.detection_limit = detection_limit
        if self.options.diameter is not None and trained_diameter is None:
            raise ConfigError(
                "diameter needs a model whose card says what diameter it was trained on; give "
                "scales instead, such as 0.5 for objects twice as large as those of the training"
            )
        has_own_scales = tuple(self.options.scales) != (1.0,)
        self.trained_diameter = None if has_own_scales else trained_diameter
        if self.options.is_augmented and not isinstance(model, AugmentedRCNN):
            raise ConfigError("flips and scales need an AugmentedRCNN, as Predictor.load makes it")
        if self.options.precision != "float32":
            pool_in_float32(model)

    @classmethod
    def _of_config(cls, cfg: CfgNode, trained_diameter: float | None) -> dict[str, Any]:
        if not cfg.MODEL.MASK_ON:
            raise ConfigError("MODEL.MASK_ON is False; Predictor is for models with masks")
        limit = cfg.TEST.DETECTIONS_PER_IMAGE
        return {"detection_limit": limit, "trained_diameter": trained_diameter}

    @classmethod
    def _augmented(cls, model: nn.Module, cfg: CfgNode, options: Options) -> nn.Module:
        if not options.is_augmented:
            return model
        return AugmentedRCNN(
            cfg,
            model,
            flips=options.flips,
            scales=options.scales,
            batch_size=options.batch_size,
        )

    def __call__(self, image: np.ndarray | Raster) -> Objects:
        """
        Args:
            image: (H, W, channels) with as many channels as the model takes, in the order of
                INPUT.CHANNELS of its training where that is set. For a model of three also
                (H, W) and (H, W, 1), or (H, W, 4), whose alpha is not looked at; for one of one
                also (H, W). 8-bit, or any number type with ``percentiles``. Or what
                :func:`maskrcnnpp.images.open_image` gives, which is read tile by tile.

        Raises:
            DataError: it is no such image, is empty, or has values that are not finite.
        """
        lowest = self.options.score_threshold
        return self.candidates(image, lowest).at(lowest)

    def candidates(self, image: np.ndarray | Raster, lowest: float) -> Candidates:
        """What the model says of each tile, to choose a score threshold afterwards.

        Args:
            image: see :meth:`__call__`.
            lowest: score from which detections are kept. The size of the objects is estimated by
                those from ``score_threshold`` on.
        """
        raster = self._raster(image)
        limits = self._limits(raster)
        looked: dict[tuple[Tile, float], Instances] = {}
        scale = self._scale_of(raster, limits, looked)
        tiles = self._tiles(raster, scale)
        found: list[list[Detection]] = []
        crowded = 0
        if [(tile, scale) for tile in tiles] == (known := list(looked)[:1]):
            outputs = iter([(tiles[0], looked[known[0]])])  # a small image, and nothing to resize
        else:
            outputs = self._each_tile(raster, tiles, limits, scale)
        for tile, output in outputs:
            crowded += self._is_crowded(output)
            found.append(self._detections(output, tile, lowest))
        if crowded:
            logger.warning(
                "%s: %d of %d tiles have the %d objects at which the model stops, and may have "
                "more; lower the tile size or raise TEST.DETECTIONS_PER_IMAGE",
                *(printable(raster.name), crowded, len(tiles), self.detection_limit),
            )
        return Candidates(tiles, found, raster.height, raster.width, self.options, scale)

    def _scale_of(
        self, raster: Raster, limits: Limits | None, looked: dict[tuple[Tile, float], Instances]
    ) -> float:
        """Factor by which the image is resized for the model.

        Args:
            looked: what the model said on the way is added.
        """
        if self.trained_diameter is None:
            return 1.0
        if self.options.diameter is not None:
            return self.trained_diameter / self.options.diameter

        def find(tile: Tile, scale: float) -> list[Detection]:
            ((_, output),) = self._each_tile(raster, [tile], limits, scale)
            looked[tile, scale] = output
            lowest = self.options.score_threshold
            found = resolve_overlaps(self._detections(output, tile, lowest))
            return [entry for entry in found if entry.score >= SURE]

        return estimate_scale(find, raster.height, raster.width)

    def _infer(self, images: list[torch.Tensor]) -> list[Instances]:
        inputs = [{"image": image} for image in images]
        return self.model.inference(inputs, do_postprocess=False)

    def _is_crowded(self, found: Instances) -> bool:
        if self.detection_limit is None or len(found) < self.detection_limit:
            return False
        return float(found.scores.min()) >= self.options.score_threshold

    def _detections(self, found: Instances, tile: Tile, lowest: float) -> list[Detection]:
        height, width = tile.bottom - tile.top, tile.right - tile.left
        found = found[found.scores >= lowest].to("cpu")
        boxes = found.pred_boxes.clone()
        boxes.scale(width / found.image_size[1], height / found.image_size[0])
        boxes.clip((height, width))
        detections = []
        threshold = self.options.mask_threshold
        masks = paste_masks(found.pred_masks, boxes, height, width, threshold)
        rows = zip(masks, boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist())
        for mask, (x0, y0, x1, y1), score, category in rows:
            if (crop := mask.tight()) is None:
                continue  # not a pixel: nothing to show or measure
            detections.append(
                Detection(
                    box=(x0 + tile.left, y0 + tile.top, x1 + tile.left, y1 + tile.top),
                    score=score,
                    category=category,
                    pixels=crop.pixels,
                    top=tile.top + crop.top,
                    left=tile.left + crop.left,
                )
            )
        return detections
