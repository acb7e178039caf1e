"""What all predictors do before the model: its config, and tiles as it takes them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

from maskrcnnpp.config_reader import build_config, check_device, check_weights
from maskrcnnpp.data.image_io import ArrayRaster, Raster
from maskrcnnpp.data.intensity import Limits, ModelInput, Remedies
from maskrcnnpp.errors import ConfigError, DataError
from maskrcnnpp.inference.options import Options
from maskrcnnpp.inference.tiling import Tile

logger = logging.getLogger(__name__)

# layers whose output at a pixel depends on all pixels of the image
_OF_AN_IMAGE = (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
REMEDIES = Remedies(
    values="give percentiles, such as 1 and 99.8, that become black and white",
    channels="choose with --channels",
)


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


def tile_tensor(
    model_input: ModelInput, raster: Raster, tile: Tile, limits: Limits | None
) -> torch.Tensor:
    """A tile as the model takes it: float32 (channels, h, w), 0..255."""
    pixels = model_input.pixels(raster, limits, (tile.top, tile.left, tile.bottom, tile.right))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))


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
            "tensor with channels first, or maskrcnnpp.data.image_io.open_image(path) of a file"
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
