"""A trained semantic model on images of any size: a sliding window, and objects made of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import SemanticSegmentor
from detectron2.structures import Instances

from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.images import Raster
from maskrcnnpp.inference.candidates import SemanticCandidates
from maskrcnnpp.inference.objects import SemanticObjects
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.semantic_instances import ObjectFinder
from maskrcnnpp.inference.tiled import TiledPredictor, config_to_use
from maskrcnnpp.inference.tiling import Detection, Tile
from maskrcnnpp.masks.crop import Crop
from maskrcnnpp.modeling.semantic_depths import is_unet

_FLIPS = ((), (1,), (2,), (1, 2))  # axes of (channels, height, width)


class SemanticPredictor(TiledPredictor):
    """The probability of each class at each pixel of an image, by a sliding window.

    Where tiles overlap, each counts the less the nearer its edge is. Unlike that of
    :class:`Predictor`, memory grows with the image: four bytes a pixel and class.
    """

    def __init__(
        self,
        model: SemanticSegmentor,
        *,
        find_objects: ObjectFinder | None = None,
        **more: Any,
    ) -> None:
        """
        Args:
            model: one whose head gives probabilities.
            find_objects: makes objects of them.
            more: see :class:`maskrcnnpp.inference.tiled.TiledPredictor`; there are no scales.

        Raises:
            ConfigError: an option is impossible.
        """
        super().__init__(model, **more)
        if tuple(self.options.scales) != (1.0,):
            raise ConfigError("scales are of models that find objects; a semantic one has none")
        self.find_objects = find_objects or ObjectFinder()

    @classmethod
    def _of_config(cls, cfg: CfgNode, trained_diameter: float | None) -> dict[str, Any]:
        if not (is_semantic(cfg) and is_unet(cfg)):
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE} and MODEL.BACKBONE.NAME "
                f"{cfg.MODEL.BACKBONE.NAME}; SemanticPredictor is for the U-Net family"
            )
        return {"find_objects": ObjectFinder.from_config(cfg)}

    def __call__(self, image: np.ndarray | Raster) -> SemanticObjects:
        """
        Args:
            image: see :meth:`Predictor.__call__`.

        Raises:
            DataError: it is no such image, is empty, or has values that are not finite.
        """
        return self.candidates(image).at(self.options.score_threshold)

    def candidates(self, image: np.ndarray | Raster, lowest: float = 0.0) -> SemanticCandidates:
        """What was found, to choose a score threshold afterwards; see :meth:`Predictor.candidates`.

        Args:
            image: see :meth:`__call__`.
            lowest: not looked at: objects of all scores are kept.
        """
        probabilities = self.probabilities(self._raster(image))
        detections = _detections(self.find_objects(torch.from_numpy(probabilities)))
        detections.sort(key=lambda entry: -entry.score)
        first = self.find_objects.first_class
        return SemanticCandidates(SemanticObjects(detections, probabilities, first), self.options)

    def probabilities(self, raster: Raster) -> np.ndarray:
        """Of each class at each pixel, float32 (classes, height, width)."""
        total: np.ndarray | None = None
        weight = np.zeros((raster.height, raster.width), np.float32)
        for tile, found in self._each_tile(raster, self._tiles(raster), self._limits(raster)):
            if total is None:
                total = np.zeros((len(found), raster.height, raster.width), np.float32)
            rows, columns = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
            of_tile = tile_weight(tile, self.options.overlap)
            total[:, rows, columns] += found * of_tile
            weight[rows, columns] += of_tile
        assert total is not None  # an image has a tile at least
        return total / weight

    def _infer(self, images: list[torch.Tensor]) -> list[np.ndarray]:
        versions = _FLIPS if self.options.flips else _FLIPS[:1]
        sums: list[Any] = [0.0] * len(images)  # tensors, from the first version on
        for axes in versions:
            outputs = self.model([{"image": image.flip(axes)} for image in images])
            for index, output in enumerate(outputs):
                sums[index] = sums[index] + output["sem_seg"].float().flip(axes)
        return [(found / len(versions)).cpu().numpy() for found in sums]


def tile_weight(tile: Tile, overlap: int) -> np.ndarray:
    """How much each pixel of a tile counts: 1, falling to 0 over ``overlap`` pixels at its edges.

    Returns:
        float32 (h, w), above 0.
    """
    ramps = []
    for length in (tile.bottom - tile.top, tile.right - tile.left):
        place = np.arange(length)
        from_edge = np.minimum(place, place[::-1]) + 1
        ramps.append(np.minimum(from_edge / (overlap + 1), 1).astype(np.float32))
    return np.outer(*ramps)


def _detections(found: Instances) -> list[Detection]:
    detections = []
    rows = zip(
        found.pred_masks.rles,
        found.pred_boxes.tensor.tolist(),
        found.scores.tolist(),
        found.pred_classes.tolist(),
    )
    for rle, box, score, category in rows:
        crop = Crop.of_rle(rle)
        detections.append(Detection(tuple(box), score, category, crop.pixels, crop.top, crop.left))
    return detections


def load_predictor(
    config_file: str | os.PathLike,
    weights: str | os.PathLike,
    *,
    opts: Sequence[str] = (),
    **more: Any,
) -> Predictor | SemanticPredictor:
    """The predictor of a training, of objects or semantic; see :meth:`Predictor.load`."""
    cfg, _ = config_to_use(config_file, weights, opts, {})
    if not is_semantic(cfg):
        return Predictor.load(config_file, weights, opts=opts, **more)
    more.pop("trained_diameter", None)  # pixels have none
    return SemanticPredictor.load(config_file, weights, opts=opts, **more)
