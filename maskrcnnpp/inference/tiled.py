"""Common base of all predictors: the config, the model, and tiles as it takes them."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images import ArrayRaster, Raster
from maskrcnnpp.images.intensity import Limits, ModelInput, Remedies
from maskrcnnpp.inference.backend import Backend, Trained, find_trained
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.resizing import resized
from maskrcnnpp.inference.tiling import Tile, tile_image

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Self

logger = logging.getLogger(__name__)

REMEDIES = Remedies(
    values="give percentiles, such as 1 and 99.8, that become black and white",
    channels="choose with --channels",
)


class TiledPredictor(ABC):
    """A trained model on images of any size, in overlapping tiles where they are large."""

    #: Whether it is for models of semantic segmentation.
    is_semantic = False

    def __init__(
        self,
        model: nn.Module | Backend,
        *,
        input_format: str = "RGB",
        channels_of_model: int = 3,
        progress: bool = True,
        **options: Any,
    ) -> None:
        """
        Args:
            model: of PyTorch, which is set to evaluation mode, or on another backend.
            input_format: order of three channels that it was trained with, "RGB" or "BGR".
            channels_of_model: that it takes (entries of MODEL.PIXEL_MEAN).
            progress: show a bar for an image of several tiles.
            options: the fields of :class:`Options`.

        Raises:
            ConfigError: an option is impossible.
        """
        self.options = Options(**options)
        limits = self.options.percentiles
        percentiles = (limits[0], limits[1]) if limits else ()
        self.model_input = ModelInput(channels_of_model, input_format, percentiles)
        self.backend = _backend(model, self.options)
        self.progress = progress
        #: Called before each batch of tiles with its number, from 0, and how many there are. What
        #: it raises ends the prediction.
        self.watch: Callable[[int, int], None] | None = None
        self._warn_of_tiles = TileWarning(self.backend.norms_of_image())

    @property
    def model(self) -> Any:
        """The model that runs: a module of PyTorch, or the session of an exported model."""
        return self.backend.model

    @classmethod
    def load(
        cls,
        config_file: str | os.PathLike,
        weights: str | os.PathLike | None = None,
        *,
        backend: str = "auto",
        opts: Sequence[str] = (),
        trained_diameter: float | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Self:
        """A trained model: ``Predictor.load("nuclei")``, or that of a training.

        Args:
            config_file: name of a model (:func:`maskrcnnpp.models.find_model`), or ``config.yaml``
                of a training's OUTPUT_DIR.
            weights: of a training: a checkpoint, such as ``model_final.pth``.
            backend: what runs the model: "torch", "onnx" or "openvino"; see
                :func:`maskrcnnpp.inference.backend.find_trained` for "auto".
            opts: KEY VALUE overrides of the config, such as MODEL.NESTED_FPN.DEPTH 2.
            trained_diameter: see :class:`Predictor`; that of a model by name is in its card.
            progress: show a bar for an image of several tiles.
            options: the fields of :class:`Options`. Percentiles are those of the training
                (INPUT.PERCENTILES) unless they are given, and others those that a model by name
                was tuned to.

        Raises:
            UserError: a file is missing or does not fit, a key, option or backend is impossible
                here, or a package is not installed.
        """
        trained = find_trained(config_file, weights, backend=backend, opts=opts, options=options)
        return cls.of(trained, trained_diameter=trained_diameter, progress=progress, **options)

    @classmethod
    def of(
        cls,
        trained: Trained,
        *,
        trained_diameter: float | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Self:
        """Load a model of :func:`maskrcnnpp.inference.backend.find_trained`; see :meth:`load`."""
        if trained.is_semantic != cls.is_semantic:
            right = "SemanticPredictor" if trained.is_semantic else "Predictor"
            what = "probabilities of pixels" if trained.is_semantic else "objects"
            raise ConfigError(f"the model gives {what}: use {right}, not {cls.__name__}")
        tuned = trained.tuned(options)
        # those of the options are relative to the training's
        tuned = replace(tuned, scales=tuple(trained.scale * scale for scale in tuned.scales))
        more = cls._more_of(trained, trained_diameter)
        return cls(
            trained.load(tuned),
            input_format=trained.model_input.order,
            channels_of_model=trained.model_input.channels,
            progress=progress,
            **more,
            **vars(tuned),
        )

    @classmethod
    @abstractmethod
    def _more_of(cls, trained: Trained, trained_diameter: float | None) -> dict[str, Any]:
        """Further arguments of the constructor."""

    @abstractmethod
    def _infer(self, images: list[np.ndarray]) -> Sequence[Any]:
        """Outputs of the model for a batch of at most :data:`Options.batch_size` tiles."""

    def _raster(self, image: np.ndarray | Raster) -> Raster:
        """The image of a call; see :meth:`Predictor.__call__`."""
        if isinstance(image, Raster):
            return image
        return as_raster(image, self.model_input.channels)

    def _limits(self, raster: Raster) -> Limits | None:
        """Values of the image that become 0 and 255."""
        return self.model_input.limits(raster, REMEDIES)

    def _each_tile(
        self, raster: Raster, tiles: Sequence[Tile], limits: Limits | None, scale: float = 1.0
    ) -> Iterator[tuple[Tile, Any]]:
        """Each tile of an image, and what the model says of it.

        Args:
            scale: factor by which tiles are resized for the model.
        """
        self._warn_of_tiles(raster, tiles, round(self.options.tile_size / scale))
        size, quiet = self.options.batch_size, not self.progress or len(tiles) == 1
        batches = [tiles[start : start + size] for start in range(0, len(tiles), size)]
        bar = tqdm(total=len(batches), desc="tiles", unit="batch", disable=quiet, leave=False)
        with bar:
            for batch, outputs in zip(batches, self._outputs(raster, batches, limits, scale)):
                bar.update()
                yield from zip(batch, outputs)

    def _outputs(
        self, raster: Raster, batches: Sequence[Sequence[Tile]], limits: Limits | None, scale: float
    ) -> Iterator[Sequence[Any]]:
        """Outputs of the model for each batch of tiles, in their order."""
        for number, batch in enumerate(batches):
            if self.watch is not None:
                self.watch(number, len(batches))
            inputs = [self._input(raster, tile, limits) for tile in batch]
            if scale != 1:
                inputs = [resized(image, scale) for image in inputs]
            yield self._infer(inputs)

    def _tiles(self, raster: Raster, scale: float = 1.0) -> list[Tile]:
        """Tiles that the model sees at the size of the options, resized by a factor."""
        size = max(1, round(self.options.tile_size / scale))
        overlap = min(round(self.options.overlap / scale), size // 2)
        return tile_image(raster.height, raster.width, size, overlap)

    def _input(self, raster: Raster, tile: Tile, limits: Limits | None) -> np.ndarray:
        """A tile as the model takes it: float32 (channels, h, w), 0..255."""
        place = (tile.top, tile.left, tile.bottom, tile.right)
        pixels = self.model_input.pixels(raster, limits, place).transpose(2, 0, 1)
        return np.ascontiguousarray(pixels, dtype=np.float32)


def _backend(model: nn.Module | Backend, options: Options) -> Backend:
    if isinstance(model, Backend):
        return model
    from maskrcnnpp.inference.torch_model import TorchBackend

    return TorchBackend(model, options.precision)


class TileWarning:
    """Says once that a model's normalization takes each tile for a whole image."""

    def __init__(self, kinds: Sequence[str]) -> None:
        """
        Args:
            kinds: names of these normalizations.
        """
        self._kinds = list(kinds)

    def __call__(self, raster: Raster, tiles: Sequence[Tile], tile_size: int) -> None:
        """Log it for the first image that is tiled."""
        if not self._kinds or len(tiles) == 1:
            return
        logger.warning(
            "%s is predicted in %d tiles of %d pixels, and the model's %s normalizes each tile on "
            "its own: what is found depends on the size of the tiles; let them be as large as the "
            "images of the training, or as this image (%d), if memory allows",
            *(raster.name, len(tiles), tile_size, " and ".join(self._kinds)),
            max(raster.height, raster.width),
        )
        self._kinds = []


def as_raster(image: np.ndarray, channels_of_model: int) -> Raster:
    """An array (H, W) or (H, W, channels) as something that is read tile by tile.

    Raises:
        DataError: it is not an image.
    """
    if not isinstance(image, np.ndarray):
        kind = f"{type(image).__module__}.{type(image).__qualname__}"
        raise DataError(
            f"the image is a {kind}; give a NumPy array, height x width x channels: "
            "np.asarray(image) of a picture in mode RGB or L, image.permute(1, 2, 0).numpy() of a "
            "tensor with channels first, or maskrcnnpp.images.open_image(path) of a file"
        )
    shape = "x".join(map(str, image.shape))
    if image.ndim not in (2, 3):
        raise DataError(
            f"an array of {shape} is not an image: it has to be height x width, or with channels "
            "last; take planes and channels out of a stack one by one"
        )
    if 0 in image.shape:
        raise DataError(f"the image is empty: {shape} pixels")
    raster = ArrayRaster(image.reshape(*image.shape[:2], -1), name=f"the image of {shape}")
    has_alpha = raster.shape[2] == 4 and channels_of_model == 3
    raster.choose(range(3 if has_alpha else raster.shape[2]))
    return raster
