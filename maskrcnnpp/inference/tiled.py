"""What all predictors have in common: the config, the model, and tiles as it takes them."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from tqdm import tqdm

from maskrcnnpp.config_reader import build_config, check_device, check_weights
from maskrcnnpp.environment import bound_convolution_cache
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.images import ArrayRaster, Raster
from maskrcnnpp.images.intensity import Limits, ModelInput, Remedies
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.precision import PRECISIONS
from maskrcnnpp.inference.tiling import Tile, tile_image
from maskrcnnpp.inference.tta import resized
from maskrcnnpp.modeling.checkpoint import load_to_use
from maskrcnnpp.modeling.speed import with_speed_keys
from maskrcnnpp.models import find_model

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

# layers whose output at a pixel depends on all pixels of the image
_OF_AN_IMAGE = (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
REMEDIES = Remedies(
    values="give percentiles, such as 1 and 99.8, that become black and white",
    channels="choose with --channels",
)


class TiledPredictor(ABC):
    """A trained model on images of any size, in overlapping tiles where they are large."""

    def __init__(
        self,
        model: nn.Module,
        *,
        input_format: str = "RGB",
        channels_of_model: int = 3,
        progress: bool = True,
        **options: Any,
    ) -> None:
        """
        Args:
            model: set to evaluation mode.
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
        self.model = model.eval()
        self.progress = progress
        #: Called before each batch of tiles with its number, from 0, and how many there are. What
        #: it raises ends the prediction.
        self.watch: Callable[[int, int], None] | None = None
        self._warn_of_tiles = TileWarning(model)

    @classmethod
    def load(
        cls,
        config_file: str | os.PathLike,
        weights: str | os.PathLike | None = None,
        *,
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
            opts: KEY VALUE overrides of the config, such as MODEL.NESTED_FPN.DEPTH 2.
            trained_diameter: see :class:`Predictor`; that of a model by name is in its card.
            progress: show a bar for an image of several tiles.
            options: the fields of :class:`Options`. Percentiles are those of the training
                (INPUT.PERCENTILES) unless they are given, and others those that a model by name
                was tuned to.

        Raises:
            ConfigError: a file is missing or does not fit, or a key or option is impossible here.
        """
        if weights is None:
            found = find_model(os.fspath(config_file))
            config_file, weights = found.config_file, found.weights_file
            options = {**found.options, **options}
            trained_diameter = found.card.get("diameter")
        cfg, options = config_to_use(config_file, weights, opts, options)
        more = cls._of_config(cfg, trained_diameter)
        bound_convolution_cache()
        model = with_speed_keys(build_model(cfg), cfg)
        load_to_use(model, cfg)
        trained_on = ModelInput.from_config(cfg)
        return cls(
            cls._augmented(model, cfg, Options(**options)),
            input_format=trained_on.order,
            channels_of_model=trained_on.channels,
            progress=progress,
            **more,
            **options,
        )

    @classmethod
    @abstractmethod
    def _of_config(cls, cfg: CfgNode, trained_diameter: float | None) -> dict[str, Any]:
        """Further arguments of the constructor.

        Raises:
            ConfigError: the config is of another kind of model.
        """

    @classmethod
    def _augmented(cls, model: nn.Module, cfg: CfgNode, options: Options) -> nn.Module:
        """The model with the flips and scales of the options, where it takes these itself."""
        return model

    @abstractmethod
    def _infer(self, images: list[torch.Tensor]) -> Sequence[Any]:
        """What the model says of tiles of :data:`Options.batch_size`, without gradients."""

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
        size, dtype = self.options.batch_size, PRECISIONS[self.options.precision]
        device = next(self.model.parameters()).device.type if dtype else "cpu"
        quiet = not self.progress or len(tiles) == 1
        batches = range(0, len(tiles), size)
        for start in tqdm(batches, desc="tiles", unit="batch", disable=quiet, leave=False):
            if self.watch is not None:
                self.watch(start // size, len(batches))
            batch = tiles[start : start + size]
            inputs = [self._tensor(raster, tile, limits) for tile in batch]
            if scale != 1:
                inputs = [resized(image, scale) for image in inputs]
            with torch.no_grad(), torch.autocast(device, dtype, enabled=dtype is not None):
                outputs = self._infer(inputs)
            yield from zip(batch, outputs)

    def _tiles(self, raster: Raster, scale: float = 1.0) -> list[Tile]:
        """Tiles that the model sees at the size of the options, resized by a factor."""
        sides = (round(s / scale) for s in (self.options.tile_size, self.options.overlap))
        return tile_image(raster.height, raster.width, *sides)

    def _tensor(self, raster: Raster, tile: Tile, limits: Limits | None) -> torch.Tensor:
        """A tile as the model takes it: float32 (channels, h, w), 0..255."""
        place = (tile.top, tile.left, tile.bottom, tile.right)
        pixels = self.model_input.pixels(raster, limits, place).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))


def config_to_use(
    config_file: str | os.PathLike,
    weights: str | os.PathLike,
    opts: Sequence[str],
    options: Mapping[str, Any],
) -> tuple[CfgNode, dict[str, Any]]:
    """The config of a training, to predict with.

    Args:
        config_file: ``config.yaml`` of its OUTPUT_DIR.
        weights: a checkpoint.
        opts: KEY VALUE overrides.
        options: some fields of :class:`Options`.

    Returns:
        the config, and the options with the percentiles of the training where none are given, and
        scales that are relative to the image.

    Raises:
        ConfigError: a file is missing or does not fit, or a key or option is impossible here.
    """
    if not str(weights):
        raise ConfigError("weights are empty: name the checkpoint of a training")
    Options(**options)
    cfg = build_config(str(config_file), [*opts, "MODEL.WEIGHTS", str(weights)])
    options = dict(options)
    if cfg.INPUT.PERCENTILES:
        options.setdefault("percentiles", tuple(cfg.INPUT.PERCENTILES))
    # scales are relative to the training's
    scales = options.get("scales", (1.0,))
    options["scales"] = tuple(cfg.INPUT.SCALE * scale for scale in scales)
    check_device(cfg)
    check_weights(cfg)
    check_image_size(cfg)
    return cfg, options


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


class TileWarning:
    """Says once that a model's normalization takes each tile for a whole image."""

    def __init__(self, model: nn.Module) -> None:
        self._kinds = norms_of_image(model)

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
            f"an array of {shape} is no image: it has to be height x width, or with channels last; "
            "take planes and channels out of a stack one by one"
        )
    if 0 in image.shape:
        raise DataError(f"the image is empty: {shape} pixels")
    raster = ArrayRaster(image.reshape(*image.shape[:2], -1), name=f"the image of {shape}")
    has_alpha = raster.shape[2] == 4 and channels_of_model == 3
    raster.choose(range(3 if has_alpha else raster.shape[2]))
    return raster
