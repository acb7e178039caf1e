"""A trained semantic model on images of any size: a sliding window, and objects made of it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.images import Raster
from maskrcnnpp.inference.backend import Backend, Trained, find_trained
from maskrcnnpp.inference.candidates import SemanticCandidates
from maskrcnnpp.inference.objects import SemanticObjects
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.predictor import Predictor
from maskrcnnpp.inference.semantic_instances import ObjectFinder, SemanticObject
from maskrcnnpp.inference.tiled import TiledPredictor
from maskrcnnpp.inference.tiling import Detection, Tile
from maskrcnnpp.masks.crop import Crop

if TYPE_CHECKING:
    from detectron2.modeling import SemanticSegmentor

_FLIPS = ((), (1,), (2,), (1, 2))  # axes of (channels, height, width)
# options that a mask of each object is needed for
_OF_OBJECTS = ("scales", "diameter", "mask_threshold", "overlaps")


class SemanticPredictor(TiledPredictor):
    """The probability of each class at each pixel of an image, by a sliding window.

    Where tiles overlap, each counts the less the nearer its edge is. Unlike that of
    :class:`Predictor`, memory grows with the image: four bytes a pixel and class.
    """

    is_semantic = True

    def __init__(
        self,
        model: SemanticSegmentor | Backend,
        *,
        find_objects: ObjectFinder | None = None,
        **more: Any,
    ) -> None:
        """
        Args:
            model: one whose head gives probabilities.
            find_objects: makes objects of them.
            more: see :class:`maskrcnnpp.inference.tiled.TiledPredictor`; there are no scales, and
                nothing that a mask of each object is needed for.

        Raises:
            ConfigError: an option is impossible.
        """
        super().__init__(model, **more)
        for package in ("scipy", "skimage"):
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise ConfigError(
                    "the objects of a semantic model need SciPy and scikit-image: pip install "
                    "scikit-image"
                ) from error
        usual = Options()
        for name in _OF_OBJECTS:
            if getattr(self.options, name) != getattr(usual, name):
                raise ConfigError(
                    f"{name} is of models that find objects by themselves; this one is semantic: "
                    "leave it out"
                )
        self.find_objects = find_objects or ObjectFinder()

    @classmethod
    def _more_of(cls, trained: Trained, trained_diameter: float | None) -> dict[str, Any]:
        return {"find_objects": ObjectFinder(**(trained.find_objects or {}))}

    def __call__(self, image: np.ndarray | Raster) -> SemanticObjects:
        """
        Args:
            image: see :meth:`Predictor.__call__`.

        Raises:
            DataError: it is no such image, is empty, or has values that are not finite.
        """
        return self.candidates(image).at(self.options.score_threshold)

    def candidates(self, image: np.ndarray | Raster) -> SemanticCandidates:
        """Objects of any score, to choose a score threshold afterwards.

        Args:
            image: see :meth:`__call__`.
        """
        probabilities = self.probabilities(self._raster(image))
        detections = list(map(_detection, self.find_objects.find(probabilities)))
        detections.sort(key=lambda entry: -entry.score)
        first = self.find_objects.first_class
        return SemanticCandidates(SemanticObjects(detections, probabilities, first), self.options)

    def probabilities(self, raster: Raster) -> np.ndarray:
        """Probabilities of each class at each pixel, float32 (classes, height, width)."""
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

    def _infer(self, images: list[np.ndarray]) -> list[np.ndarray]:
        versions = _FLIPS if self.options.flips else _FLIPS[:1]
        sums: list[Any] = [0.0] * len(images)  # arrays, from the first version on
        for axes in versions:
            flipped = [np.ascontiguousarray(np.flip(image, axes)) for image in images]
            for index, values in enumerate(self.backend.probabilities(flipped)):
                sums[index] = sums[index] + np.flip(values, axes)
        return [found / len(versions) for found in sums]


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


def _detection(found: SemanticObject) -> Detection:
    crop = Crop.of_rle(found.mask)
    box = (float(crop.left), float(crop.top), float(crop.right), float(crop.bottom))
    return Detection(box, found.score, found.category, crop.pixels, crop.top, crop.left)


def predictor_of(trained: Trained, **more: Any) -> Predictor | SemanticPredictor:
    """The predictor of a trained model, of objects or semantic; see :meth:`Predictor.of`."""
    return (SemanticPredictor if trained.is_semantic else Predictor).of(trained, **more)


def load_predictor(
    config_file: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    *,
    backend: str = "auto",
    opts: Sequence[str] = (),
    trained_diameter: float | None = None,
    progress: bool = True,
    **options: Any,
) -> Predictor | SemanticPredictor:
    """The predictor of a training, of objects or semantic; see :meth:`Predictor.load`."""
    trained = find_trained(config_file, weights, backend=backend, opts=opts, options=options)
    return predictor_of(trained, trained_diameter=trained_diameter, progress=progress, **options)
