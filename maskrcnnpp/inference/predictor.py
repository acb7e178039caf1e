"""A trained model on images of any size: arrays in, objects out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnnpp.errors import ConfigError, printable
from maskrcnnpp.images import Raster
from maskrcnnpp.images.intensity import Limits
from maskrcnnpp.inference.backend import Backend, Found, Trained
from maskrcnnpp.inference.candidates import Candidates
from maskrcnnpp.inference.magnification import SURE, estimate_scale
from maskrcnnpp.inference.objects import Objects
from maskrcnnpp.inference.overlaps import resolve_overlaps
from maskrcnnpp.inference.resizing import resized
from maskrcnnpp.inference.tiled import TiledPredictor
from maskrcnnpp.inference.tiling import Detection, Tile
from maskrcnnpp.masks.paste import paste_masks

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)


class Predictor(TiledPredictor):
    """Find the objects of an image, in overlapping tiles where it is large.

    Each object is that of the image as a whole, not of a tile; see
    :func:`maskrcnnpp.inference.tiling.merge_tiles`. Memory grows with a tile and with the number
    of objects, not with objects times image.
    """

    def __init__(
        self,
        model: nn.Module | Backend,
        *,
        detection_limit: int | None = None,
        trained_diameter: float | None = None,
        **more: Any,
    ) -> None:
        """
        Args:
            model: a Mask R-CNN. Flips, and more than one scale, need an ``AugmentedRCNN``, as
                :meth:`load` makes it of a model of PyTorch.
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
        if self.options.is_augmented and not self.backend.looks_twice:
            raise ConfigError(
                "flips, and more than one scale, need the backend torch, and a model that is an "
                "AugmentedRCNN, as Predictor.load makes it"
            )

    @classmethod
    def _more_of(cls, trained: Trained, trained_diameter: float | None) -> dict[str, Any]:
        diameter = trained.diameter if trained_diameter is None else trained_diameter
        return {"detection_limit": trained.detection_limit, "trained_diameter": diameter}

    def __call__(self, image: np.ndarray | Raster, *, scale: float | None = None) -> Objects:
        """
        Args:
            image: (H, W, channels) with as many channels as the model takes, in the order of
                INPUT.CHANNELS of its training where that is set. For a model of three also
                (H, W) and (H, W, 1), or (H, W, 4), whose alpha is not looked at; for one of one
                also (H, W). 8-bit, or any number type with ``percentiles``. Or what
                :func:`maskrcnnpp.images.open_image` gives, which is read tile by tile.
            scale: factor by which it is resized; None: :meth:`scale_of` the image.

        Raises:
            DataError: it is no such image, is empty, or has values that are not finite.
        """
        return self.candidates(image, scale=scale).at(self.options.score_threshold)

    def scale_of(self, image: np.ndarray | Raster) -> float:
        """Factor by which an image is resized for the model, by the size of its objects.

        Args:
            image: see :meth:`__call__`.
        """
        raster = self._raster(image)
        return self._scale_of(raster, self._limits(raster), {})

    def candidates(self, image: np.ndarray | Raster, *, scale: float | None = None) -> Candidates:
        """Detections of each tile, to choose a higher score threshold afterwards.

        Args:
            image, scale: see :meth:`__call__`.
        """
        raster = self._raster(image)
        limits = self._limits(raster)
        looked: dict[tuple[Tile, float], Found] = {}
        if scale is None:
            scale = self._scale_of(raster, limits, looked)
        tiles = self._tiles(raster, scale)
        found: list[list[Detection]] = []
        crowded = 0
        if [(tile, scale) for tile in tiles] == (known := list(looked)[:1]):
            outputs = iter([(tiles[0], looked[known[0]])])  # a small image, and nothing to resize
        else:
            outputs = self._each_tile(raster, tiles, limits, scale)
        threshold = self.options.score_threshold
        for tile, output in outputs:
            crowded += self._is_crowded(output)
            found.append(self._detections(output.from_score(threshold), tile))
        if crowded:
            logger.warning(
                "%s: %d of %d tiles have the %d objects at which the model stops, and may have "
                "more; lower the tile size or raise TEST.DETECTIONS_PER_IMAGE",
                *(printable(raster.name), crowded, len(tiles), self.detection_limit),
            )
        return Candidates(tiles, found, raster.height, raster.width, self.options, scale)

    def _scale_of(
        self, raster: Raster, limits: Limits | None, looked: dict[tuple[Tile, float], Found]
    ) -> float:
        """Factor by which the image is resized for the model.

        Args:
            looked: what the model said on the way is added.
        """
        if self.trained_diameter is None:
            return 1.0
        if self.options.diameter is not None:
            return self.trained_diameter / self.options.diameter

        asked = self.options.score_threshold

        def find(tile: Tile, scale: float) -> list[Detection]:
            if self.watch is not None:
                self.watch(0, 1)
            image = resized(self._input(raster, tile, limits), scale)
            (output,) = self._objects([image], min(SURE, asked))
            looked[tile, scale] = output
            return resolve_overlaps(self._detections(output.from_score(SURE), tile))

        return estimate_scale(find, raster.height, raster.width)

    def _infer(self, images: list[np.ndarray]) -> list[Found]:
        return self._objects(images, self.options.score_threshold)

    def _objects(self, images: list[np.ndarray], score_threshold: float) -> list[Found]:
        scales = self.options.scales
        if len(scales) == 1 and scales[0] != 1:  # of several the model makes versions itself
            images = [resized(image, scales[0]) for image in images]
        return self.backend.objects(images, score_threshold)

    def _is_crowded(self, found: Found) -> bool:
        limit = self.detection_limit
        return limit is not None and found.count(self.options.score_threshold) >= limit

    def _detections(self, found: Found, tile: Tile) -> list[Detection]:
        height, width = tile.bottom - tile.top, tile.right - tile.left
        scale = np.array([width / found.width, height / found.height] * 2, dtype=np.float32)
        boxes = (found.boxes * scale).clip(0, np.array([width, height] * 2, dtype=np.float32))
        detections = []
        threshold = self.options.mask_threshold
        masks = paste_masks(found.masks, boxes, height, width, threshold)
        rows = zip(masks, boxes.tolist(), found.scores.tolist(), found.categories.tolist())
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
