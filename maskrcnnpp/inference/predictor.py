"""A trained model on images of any size: arrays in, objects out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.structures import Instances
from tqdm import tqdm

from maskrcnnpp.config_reader import build_config, check_device, check_weights
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.rle import paste_masks
from maskrcnnpp.inference.tiling import Detection, Tile, merge_tiles, tile_image
from maskrcnnpp.modeling.checkpoint import Checkpointer, load_weights


class Predictor:
    """Find the objects of an image, in overlapping tiles where it is large.

    Each object is that of the image as a whole, not of a tile; see
    :func:`maskrcnnpp.inference.tiling.merge_tiles`. Memory grows with a tile and with the number
    of objects, not with objects times image.
    """

    def __init__(
        self,
        model: GeneralizedRCNN,
        *,
        input_format: str = "RGB",
        score_threshold: float = 0.5,
        min_area: int = 1,
        max_area: int | None = None,
        tile_size: int = 1024,
        overlap: int = 128,
        batch_size: int = 1,
        percentiles: tuple[float, float] | None = None,
        progress: bool = True,
    ) -> None:
        """
        Args:
            model: with a mask head; set to evaluation mode.
            input_format: channel order that it was trained with, "RGB" or "BGR".
            score_threshold: objects below are left out. The model's own threshold is applied too.
            min_area, max_area: pixels of the smallest and the largest object that is kept.
            tile_size: side of a tile, pixels. An image of up to that size is not tiled. A tile has
                at most as many objects as the model gives (TEST.DETECTIONS_PER_IMAGE).
            overlap: pixels that tiles share: at least the size of the largest objects.
            batch_size: tiles that the model is given at a time.
            percentiles: of the pixel values of each channel of an image, such as (1, 99.8), that
                become 0 and 255; None takes 8-bit images as they are.
            progress: show a bar for an image of several tiles.

        Raises:
            ConfigError: an option is impossible.
        """
        if input_format not in ("RGB", "BGR"):
            raise ConfigError(f"INPUT.FORMAT is {input_format!r}; it can be RGB or BGR")
        if not 0 <= 2 * overlap <= tile_size or tile_size < 1:
            raise ConfigError(
                f"overlap is {overlap}; it must be at most half of tile_size, {tile_size}"
            )
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
        if min_area < 1 or (max_area is not None and max_area < min_area):
            raise ConfigError(f"areas are {min_area} to {max_area}; they rise from 1")
        if percentiles is not None and not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ConfigError(f"percentiles are {percentiles}; they rise from 0 to 100")
        self.model = model.eval()
        self.input_format = input_format
        self.score_threshold = score_threshold
        self.min_area = min_area
        self.max_area = max_area
        self.tile_size = tile_size
        self.overlap = overlap
        self.batch_size = batch_size
        self.percentiles = percentiles
        self.progress = progress

    @classmethod
    def load(
        cls,
        config_file: str | os.PathLike,
        weights: str | os.PathLike,
        *,
        opts: Sequence[str] = (),
        **options,
    ) -> Predictor:
        """The model of a training.

        Args:
            config_file: ``config.yaml`` of its OUTPUT_DIR.
            weights: a checkpoint, such as ``model_final.pth``.
            opts: KEY VALUE overrides of the config, such as MODEL.NESTED_FPN.DEPTH 2.
            options: those of :class:`Predictor`.

        Raises:
            ConfigError: a file is missing or does not fit, or a key is impossible here.
        """
        if not str(weights):
            raise ConfigError("weights are empty: name the checkpoint of a training")
        cfg = build_config(str(config_file), [*opts, "MODEL.WEIGHTS", str(weights)])
        check_device(cfg)
        check_weights(cfg)
        if not cfg.MODEL.MASK_ON:
            raise ConfigError("MODEL.MASK_ON is False; Predictor is for models with masks")
        if cfg.INPUT.MIN_SIZE_TEST != 0:
            raise ConfigError(
                f"INPUT.MIN_SIZE_TEST is {cfg.INPUT.MIN_SIZE_TEST}, which would resize each tile; "
                "set it to 0 and give images at the magnification of the training"
            )
        model = build_model(cfg)
        checkpointer = Checkpointer(model)
        load_weights(partial(checkpointer.resume_or_load, cfg.MODEL.WEIGHTS), cfg, resume=False)
        if unfilled := checkpointer.unfilled:
            raise ConfigError(
                f"{weights} does not fill the model of {config_file}: {unfilled[0]} and "
                f"{len(unfilled) - 1} more would be random; give the config.yaml of its training"
            )
        return cls(model, input_format=cfg.INPUT.FORMAT, **options)

    def __call__(self, image: np.ndarray) -> Objects:
        """
        Args:
            image: (H, W), (H, W, 1), (H, W, 3) in RGB, or (H, W, 4), whose alpha is not looked at.
                8-bit, or any number type with ``percentiles``.

        Raises:
            DataError: it is no such image, is empty, or has values that are not finite.
        """
        check_image(image, self.percentiles)
        height, width = image.shape[:2]
        image = image.reshape(height, width, -1)
        image = image[..., :3] if image.shape[2] == 4 else image
        limits = None if self.percentiles is None else _limits(image, self.percentiles)
        tiles = tile_image(height, width, self.tile_size, self.overlap)
        found: list[list[Detection]] = []
        batches = range(0, len(tiles), self.batch_size)
        quiet = not self.progress or len(tiles) == 1
        for start in tqdm(batches, desc="tiles", unit="batch", disable=quiet):
            batch = tiles[start : start + self.batch_size]
            inputs = [{"image": self._tensor(image, tile, limits)} for tile in batch]
            with torch.no_grad():
                outputs = self.model.inference(inputs, do_postprocess=False)
            found += [self._detections(*pair) for pair in zip(outputs, batch)]
        objects = [entry for entry in merge_tiles(tiles, found, height, width) if self._fits(entry)]
        return Objects(objects, height, width)

    def _fits(self, entry: Detection) -> bool:
        return self.min_area <= entry.area and (
            self.max_area is None or entry.area <= self.max_area
        )

    def _tensor(
        self, image: np.ndarray, tile: Tile, limits: tuple[np.ndarray, np.ndarray] | None
    ) -> torch.Tensor:
        """A tile as the model takes it: float32 (3, h, w), 0..255."""
        pixels = image[tile.top : tile.bottom, tile.left : tile.right].astype(np.float32)
        if limits is not None:
            low, high = limits
            pixels = np.clip((pixels - low) / np.maximum(high - low, 1e-12), 0, 1) * 255
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        if self.input_format == "BGR":
            pixels = pixels[..., ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))

    def _detections(self, found: Instances, tile: Tile) -> list[Detection]:
        height, width = tile.bottom - tile.top, tile.right - tile.left
        found = found[found.scores >= self.score_threshold].to("cpu")
        boxes = found.pred_boxes.clone()
        boxes.clip((height, width))
        detections = []
        masks = paste_masks(found.pred_masks, boxes, height, width)
        rows = zip(masks, boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist())
        for mask, (x0, y0, x1, y1), score, category in rows:
            ys, xs = (np.flatnonzero(mask.pixels.any(axis=axis)) for axis in (1, 0))
            if len(ys) == 0:
                continue  # not a pixel: nothing to show or measure
            tight = mask.pixels[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
            detections.append(
                Detection(
                    box=(x0 + tile.left, y0 + tile.top, x1 + tile.left, y1 + tile.top),
                    score=score,
                    category=category,
                    pixels=tight.copy(),  # not a view, which would keep its window
                    top=tile.top + mask.top + int(ys[0]),
                    left=tile.left + mask.left + int(xs[0]),
                )
            )
        return detections


def check_image(image: np.ndarray, percentiles: tuple[float, float] | None) -> None:
    """Check that an array is an image that :class:`Predictor` takes.

    Raises:
        DataError: it is not; the message says what to do.
    """
    shape = "x".join(map(str, image.shape))
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise DataError(
            f"an array of {shape} is no image: it has to be height x width, or with 1, 3 or 4 "
            "channels last; take planes and channels out of a stack one by one"
        )
    if 0 in image.shape:
        raise DataError(f"the image is empty: {shape} pixels")
    if not np.issubdtype(image.dtype, np.number):
        raise DataError(f"the image is {image.dtype}, which is no number")
    if np.issubdtype(image.dtype, np.complexfloating):
        raise DataError("the image is of complex numbers: take their magnitude or phase")
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise DataError("the image has values that are NaN or infinite: replace them first")
    if percentiles is None and image.dtype != np.uint8:
        raise DataError(
            f"the image is {image.dtype}, not 8-bit: give percentiles, such as (1, 99.8), that "
            "become black and white"
        )


def _limits(image: np.ndarray, percentiles: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.percentile(image, percentiles, axis=(0, 1))
    return low.astype(np.float32), high.astype(np.float32)
