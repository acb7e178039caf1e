"""Random changes of microscope images, beside those that Detectron2 has.

Each is a Detectron2 ``Augmentation`` that draws from NumPy's global generator, as its own do, and
gives a ``Transform`` that does the same to whatever it is applied to. Images have any number of
channels and are uint8 or float32, 0..255; they keep their dtype and their last axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.transforms import Augmentation, Transform
from skimage.color import hed2rgb, rgb2hed

from maskrcnnpp.data.augment.geometry import (
    RandomElastic,
    RandomQuarterTurns,
    RandomScale,
    RandomTurn,
)
from maskrcnnpp.data.input_checks import channel_order


def build_augmentations(cfg: CfgNode) -> list[Augmentation]:
    """Augmentations that INPUT.AUGMENT turns on, geometric ones first. Keys are checked before."""
    augment = cfg.INPUT.AUGMENT
    found: list[Augmentation] = []
    if augment.VERTICAL_FLIP:
        found.append(T.RandomFlip(horizontal=False, vertical=True))
    if augment.ROT90:
        found.append(RandomQuarterTurns())
    if augment.ROTATION:
        found.append(RandomTurn([-augment.ROTATION, augment.ROTATION], expand=False))
    if augment.ELASTIC:
        found.append(RandomElastic(augment.ELASTIC))
    if augment.STAIN:
        found.append(RandomStain(augment.STAIN, channel_order(cfg)))
    if augment.INVERT:
        found.append(RandomInvert(augment.INVERT))
    if augment.GAMMA:
        found.append(RandomGamma(*augment.GAMMA))
    if augment.BLUR:
        found.append(RandomBlur(*augment.BLUR))
    if augment.NOISE:
        found.append(RandomNoise(*augment.NOISE))
    return found


def with_scale(cfg: CfgNode, usual: Sequence[Augmentation], is_train: bool) -> list[Augmentation]:
    """Detectron2's augmentations, with images resized by INPUT.SCALE and INPUT.AUGMENT.SCALE.

    The crop, the first of them, is then of the resized image.
    """
    low, high = (cfg.INPUT.AUGMENT.SCALE or (1.0, 1.0)) if is_train else (1.0, 1.0)
    low, high = low * cfg.INPUT.SCALE, high * cfg.INPUT.SCALE
    if low == high == 1:
        return list(usual)
    crops = [augmentation for augmentation in usual[:1] if isinstance(augmentation, T.RandomCrop)]
    return [RandomScale(low, high, *crops), *usual[len(crops) :]]


def loosens_boxes(cfg: CfgNode) -> bool:
    """Whether boxes are to be made of the moved masks: those of moved boxes are too large."""
    return bool(cfg.INPUT.AUGMENT.ROTATION or cfg.INPUT.AUGMENT.ELASTIC)


class ValueTransform(T.ColorTransform):
    """A change of values, 0..255, that keeps shape and dtype."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        changed = np.clip(self.op(img), 0, 255)
        if img.dtype == np.uint8:
            changed = np.rint(changed)
        return changed.astype(img.dtype, copy=False).reshape(img.shape)


class RandomInvert(Augmentation):
    """The negative, with a probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def get_transform(self, image: np.ndarray) -> Transform:
        is_on = np.random.uniform() < self.probability
        return ValueTransform(_negative) if is_on else T.NoOpTransform()


class _RandomStrength(Augmentation):
    """One number of a range."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def _strength(self) -> float:
        return float(np.random.uniform(self.low, self.high))


class RandomGamma(_RandomStrength):
    """Values to a power, as parts of 255."""

    def get_transform(self, image: np.ndarray) -> Transform:
        return ValueTransform(partial(_to_power, exponent=self._strength()))


class RandomBlur(_RandomStrength):
    """A Gaussian, of a sigma in pixels."""

    def get_transform(self, image: np.ndarray) -> Transform:
        return ValueTransform(partial(_blurred, sigma=self._strength()))


class RandomNoise(_RandomStrength):
    """Gaussian noise of its own in each pixel and channel."""

    def get_transform(self, image: np.ndarray) -> Transform:
        # a seed, not the noise: a transform gives the same again, and is to be small
        seed = int(np.random.randint(2**31))
        return ValueTransform(partial(_noisy, sd=self._strength(), seed=seed))


class RandomStain(Augmentation):
    """More or less haematoxylin, eosin and DAB, each by a factor of its own.

    Args:
        strength: factors are 1 - strength to 1 + strength.
        order: places of red, green and blue among the channels.
    """

    def __init__(self, strength: float, order: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__()
        self.strength, self.order = strength, tuple(order)

    def get_transform(self, image: np.ndarray) -> Transform:
        factors = np.random.uniform(1 - self.strength, 1 + self.strength, 3)
        if image.ndim != 3 or image.shape[2] != 3 or _is_grey(image):
            return T.NoOpTransform()  # after the draw: the next image has the same luck either way
        return ValueTransform(
            partial(_stained, factors=factors.astype(np.float32), order=self.order)
        )


def _is_grey(image: np.ndarray) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())


def _negative(image: np.ndarray) -> np.ndarray:
    return 255 - image


def _to_power(image: np.ndarray, exponent: float) -> np.ndarray:
    if image.dtype == np.uint8:
        table = 255 * (np.arange(256, dtype=np.float32) / 255) ** exponent
        return np.rint(table).astype(np.uint8)[image]
    return 255 * (image / 255) ** np.float32(exponent)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma) if sigma > 0 else image


def _noisy(image: np.ndarray, sd: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return image + np.float32(sd) * noise


def _stained(image: np.ndarray, factors: np.ndarray, order: Sequence[int]) -> np.ndarray:
    rgb = image[..., list(order)].astype(np.float32) / 255
    stains = rgb2hed(rgb)
    # what stains cannot make stays as it is: only the difference between stains is added
    changed = rgb + hed2rgb(stains * factors) - hed2rgb(stains)
    return 255 * changed[..., np.argsort(order)]
