"""A trained model on images of any size: arrays in, objects out."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.structures import Instances
from tqdm import tqdm

from maskrcnnpp.environment import bound_convolution_cache
from maskrcnnpp.errors import ConfigError, printable
from maskrcnnpp.images import Raster
from maskrcnnpp.images.intensity import ModelInput
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.precision import PRECISIONS, pool_in_float32
from maskrcnnpp.inference.tile_input import (
    REMEDIES,
    TileWarning,
    as_raster,
    config_to_use,
    tile_tensor,
)
from maskrcnnpp.inference.tiling import Detection, Tile, merge_tiles, tile_image
from maskrcnnpp.inference.tta import AugmentedRCNN
from maskrcnnpp.masks.paste import paste_masks
from maskrcnnpp.modeling.checkpoint import load_to_use
from maskrcnnpp.modeling.speed import with_speed_keys

logger = logging.getLogger(__name__)


class Predictor:
    """Find the objects of an image, in overlapping tiles where it is large.

    Each object is that of the image as a whole, not of a tile; see
    :func:`maskrcnnpp.inference.tiling.merge_tiles`. Memory grows with a tile and with the number
    of objects, not with objects times image.
    """

    def __init__(
        self,
        model: GeneralizedRCNN | AugmentedRCNN,
        *,
        input_format: str = "RGB",
        channels_of_model: int = 3,
        detection_limit: int | None = None,
        progress: bool = True,
        **options,
    ) -> None:
        """
        Args:
            model: with a mask head; set to evaluation mode.
            input_format: order of three channels that it was trained with, "RGB" or "BGR".
            channels_of_model: that it takes (entries of MODEL.PIXEL_MEAN).
            detection_limit: objects of a tile at which the model stops
                (TEST.DETECTIONS_PER_IMAGE); tiles that have as many are told.
            progress: show a bar for an image of several tiles.
            options: the fields of :class:`Options`. Flips and scales need a model that has them
                (:class:`AugmentedRCNN`), as :meth:`load` makes it.

        Raises:
            ConfigError: an option is impossible.
        """
        self.options = Options(**options)
        self.model_input = ModelInput(
            channels_of_model, input_format, tuple(self.options.percentiles or ())
        )
        self.model = model.eval()
        self._warn_of_tiles = TileWarning(model)
        self.detection_limit = detection_limit
        self.progress = progress
        if self.options.is_augmented and not isinstance(model, AugmentedRCNN):
            raise ConfigError("flips and scales need an AugmentedRCNN, as Predictor.load makes it")
        if self.options.precision != "float32":
            pool_in_float32(model)

    @classmethod
    def load(
        cls,
        config_file: str | os.PathLike,
        weights: str | os.PathLike,
        *,
        opts: Sequence[str] = (),
        progress: bool = True,
        **options,
    ) -> Predictor:
        """The model of a training.

        Args:
            config_file: ``config.yaml`` of its OUTPUT_DIR.
            weights: a checkpoint, such as ``model_final.pth``.
            opts: KEY VALUE overrides of the config, such as MODEL.NESTED_FPN.DEPTH 2.
            progress: show a bar for an image of several tiles.
            options: the fields of :class:`Options`. Percentiles are those of the training
                (INPUT.PERCENTILES) unless they are given.

        Raises:
            ConfigError: a file is missing or does not fit, or a key or option is impossible here.
        """
        cfg, options = config_to_use(config_file, weights, opts, options)
        settings = Options(**options)
        if not cfg.MODEL.MASK_ON:
            raise ConfigError("MODEL.MASK_ON is False; Predictor is for models with masks")
        bound_convolution_cache()
        model = with_speed_keys(build_model(cfg), cfg)
        load_to_use(model, cfg)
        if settings.is_augmented:
            model = AugmentedRCNN(
                cfg,
                model,
                flips=settings.flips,
                scales=settings.scales,
                batch_size=settings.batch_size,
            )
        trained_on = ModelInput.from_config(cfg)
        return cls(
            model,
            input_format=trained_on.order,
            channels_of_model=trained_on.channels,
            detection_limit=cfg.TEST.DETECTIONS_PER_IMAGE,
            progress=progress,
            **options,
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
        options = self.options
        channels = self.model_input.channels
        raster = image if isinstance(image, Raster) else as_raster(image, channels)
        limits = self.model_input.limits(raster, REMEDIES)
        tiles = tile_image(raster.height, raster.width, options.tile_size, options.overlap)
        self._warn_of_tiles(raster, tiles, options.tile_size)
        found: list[list[Detection]] = []
        crowded = 0
        batches = range(0, len(tiles), options.batch_size)
        quiet = not self.progress or len(tiles) == 1
        for start in tqdm(batches, desc="tiles", unit="batch", disable=quiet, leave=False):
            batch = tiles[start : start + options.batch_size]
            inputs = [tile_tensor(self.model_input, raster, tile, limits) for tile in batch]
            outputs = self._infer(inputs)
            crowded += sum(map(self._is_crowded, outputs))
            found += [self._detections(*pair) for pair in zip(outputs, batch)]
        if crowded:
            logger.warning(
                "%s: %d of %d tiles have the %d objects at which the model stops, and may have "
                "more; lower the tile size or raise TEST.DETECTIONS_PER_IMAGE",
                *(printable(raster.name), crowded, len(tiles), self.detection_limit),
            )
        objects = merge_tiles(tiles, found, raster.height, raster.width)
        kept = [entry for entry in objects if options.fits(entry.area)]
        return Objects(kept, raster.height, raster.width)

    def _infer(self, images: list[torch.Tensor]) -> list[Instances]:
        dtype = PRECISIONS[self.options.precision]
        inputs = [{"image": image} for image in images]
        device = next(self.model.parameters()).device.type if dtype else "cpu"
        with torch.no_grad(), torch.autocast(device, dtype, enabled=dtype is not None):
            return self.model.inference(inputs, do_postprocess=False)

    def _is_crowded(self, found: Instances) -> bool:
        if self.detection_limit is None or len(found) < self.detection_limit:
            return False
        return float(found.scores.min()) >= self.options.score_threshold

    def _detections(self, found: Instances, tile: Tile) -> list[Detection]:
        height, width = tile.bottom - tile.top, tile.right - tile.left
        found = found[found.scores >= self.options.score_threshold].to("cpu")
        boxes = found.pred_boxes.clone()
        boxes.clip((height, width))
        detections = []
        masks = paste_masks(found.pred_masks, boxes, height, width)
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
