"""Checks of the keys INPUT.CHANNELS, INPUT.PERCENTILES, INPUT.SCALE and INPUT.AUGMENT."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.images.intensity import order_of_three

logger = logging.getLogger(__name__)

_PHOTOMETRIC = ("STAIN", "INVERT", "GAMMA", "BLUR", "NOISE")


def reads_microscopy(cfg: CfgNode) -> bool:
    """Whether images are to be read with all their bits and channels, as Detectron2 does not."""
    return bool(cfg.INPUT.CHANNELS or cfg.INPUT.PERCENTILES)


def is_augmented(cfg: CfgNode) -> bool:
    """Whether any of INPUT.AUGMENT is on."""
    return any(cfg.INPUT.AUGMENT.values())  # each is False, 0 or [] where it is off


def check_input(cfg: CfgNode) -> None:
    """Check how images are to be read and augmented.

    Raises:
        ConfigError: a key has an impossible value, or does not go with another. The message names
            it.
    """
    if cfg.INPUT.CHANNELS:
        _check_channels(cfg)
    _check_mean_and_std(cfg)
    if not (_is_number(cfg.INPUT.SCALE) and 0 < cfg.INPUT.SCALE <= 16):
        raise ConfigError(f"INPUT.SCALE is {cfg.INPUT.SCALE}; it is a factor above 0, up to 16")
    if cfg.INPUT.PERCENTILES:
        _check_percentiles(cfg)
    if is_augmented(cfg):
        _check_augment(cfg)


def channel_order(cfg: CfgNode) -> tuple[int, int, int] | None:
    """Places of red, green and blue among the channels of a model, where it has these.

    A single channel of a file is grey: all three.
    """
    read = list(cfg.INPUT.CHANNELS)
    if len(read) < 2:
        read = [0, 1, 2]
    taken = {"RGB": read, "BGR": read[::-1]}.get(order_of_three(cfg), [])
    if len(cfg.MODEL.PIXEL_MEAN) != 3 or sorted(taken) != [0, 1, 2]:
        return None
    return tuple(taken.index(colour) for colour in range(3))


def _check_channels(cfg: CfgNode) -> None:
    channels = list(cfg.INPUT.CHANNELS)
    if not all(isinstance(k, int) and not isinstance(k, bool) and k >= 0 for k in channels):
        raise ConfigError(f"INPUT.CHANNELS is {channels}; it needs numbers from 0, such as [0, 2]")
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        entries = len(cfg.MODEL[key])
        if entries != len(channels) and (len(channels), entries) != (1, 3):
            raise ConfigError(
                f"MODEL.{key} has {entries} entries and INPUT.CHANNELS {len(channels)}: give it "
                "one for each channel; a single channel goes into a model of three as grey"
            )
    if channels == [0, 1, 2] and cfg.INPUT.FORMAT == "BGR" and cfg.MODEL.WEIGHTS:
        logger.warning(
            "INPUT.CHANNELS [0, 1, 2] gives red, green and blue in this order, whatever "
            "INPUT.FORMAT says; weights that know BGR want [2, 1, 0]"
        )


def _check_mean_and_std(cfg: CfgNode) -> None:
    mean, std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    if len(mean) != len(std):
        raise ConfigError(
            f"MODEL.PIXEL_MEAN has {len(mean)} entries and MODEL.PIXEL_STD {len(std)}: they are of "
            "the same channels"
        )
    if not all(map(_is_number, (*mean, *std))) or not all(value > 0 for value in std):
        raise ConfigError(
            f"MODEL.PIXEL_MEAN is {mean} and MODEL.PIXEL_STD {std}: they need numbers, and a "
            "standard deviation above 0"
        )
    if reads_microscopy(cfg):
        return
    count = 1 if cfg.INPUT.FORMAT == "L" else 3
    if len(mean) != count:
        raise ConfigError(
            f"MODEL.PIXEL_MEAN has {len(mean)} entries; INPUT.FORMAT {cfg.INPUT.FORMAT!r} has "
            f"{count}: for other channels say in INPUT.CHANNELS which to read"
        )


def _check_percentiles(cfg: CfgNode) -> None:
    limits = list(cfg.INPUT.PERCENTILES)
    if not (
        len(limits) == 2 and all(map(_is_number, limits)) and 0 <= limits[0] < limits[1] <= 100
    ):
        raise ConfigError(
            f"INPUT.PERCENTILES is {limits}; it needs two that rise from 0 to 100, such as "
            "[1.0, 99.8]"
        )
    count = len(cfg.MODEL.PIXEL_MEAN)
    if not cfg.INPUT.CHANNELS and count not in (1, 3):
        raise ConfigError(
            f"MODEL.PIXEL_MEAN has {count} entries: say in INPUT.CHANNELS which channels to read"
        )
    if not cfg.INPUT.CHANNELS and count == 3 and cfg.INPUT.FORMAT not in ("RGB", "BGR"):
        raise ConfigError(
            f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; with INPUT.PERCENTILES it can be RGB or BGR"
        )


def _check_augment(cfg: CfgNode) -> None:
    augment = cfg.INPUT.AUGMENT
    _check_number("ROTATION", augment.ROTATION, 180, "degrees, 0 to 180, such as 15.0")
    _check_number("ELASTIC", augment.ELASTIC, 100, "pixels, 0 to 100, such as 4.0")
    _check_number("STAIN", augment.STAIN, 1, "a strength of 0 to 1, such as 0.2")
    _check_number("INVERT", augment.INVERT, 1, "a probability, 0 to 1")
    _check_range("SCALE", augment.SCALE, "[0.5, 2.0]", above=0)
    _check_range("GAMMA", augment.GAMMA, "[0.7, 1.4]", above=0)
    _check_range("BLUR", augment.BLUR, "[0.0, 1.5]")
    _check_range("NOISE", augment.NOISE, "[0.0, 10.0]")
    has_bitmasks = cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT == "bitmask"
    if augment.ELASTIC and not has_bitmasks and not is_semantic(cfg):
        raise ConfigError(
            "INPUT.AUGMENT.ELASTIC bends masks of pixels only: set MODEL.MASK_ON to True and "
            'INPUT.MASK_FORMAT to "bitmask"'
        )
    if augment.STAIN and channel_order(cfg) is None:
        raise ConfigError(
            "INPUT.AUGMENT.STAIN needs red, green and blue: INPUT.CHANNELS [] with INPUT.FORMAT "
            "RGB or BGR, or INPUT.CHANNELS [0, 1, 2] in any order, or a single channel as grey; "
            "0.0 turns it off"
        )
    plain = cfg.INPUT.CHANNELS or cfg.INPUT.FORMAT in ("RGB", "BGR", "L")
    if not plain and any(augment[key] for key in _PHOTOMETRIC):
        raise ConfigError(
            f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; INPUT.AUGMENT can change values of RGB, BGR "
            "and L"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_number(key: str, value: float, largest: float, what: str) -> None:
    if not (_is_number(value) and 0 <= value <= largest):
        raise ConfigError(f"INPUT.AUGMENT.{key} is {value}; it can be {what}")


def _check_range(key: str, values: Sequence[float], such_as: str, above: float = -1) -> None:
    values = list(values)
    is_range = len(values) == 2 and all(map(_is_number, values))
    if values and not (is_range and above < values[0] <= values[1] and values[0] >= 0):
        raise ConfigError(
            f"INPUT.AUGMENT.{key} is {values}; it needs the lowest and the highest, such as "
            f"{such_as}, or [] for none"
        )
