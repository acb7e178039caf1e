"""Random changes of places: scale, quarter turns, turns and elastic deformation.

See :mod:`maskrcnnpp.data.augment.values`. Masks move with the image, by nearest pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from detectron2.data import transforms as T
from detectron2.data.transforms import Augmentation, Transform

_WARPED_AT_ONCE = 4  # channels: OpenCV fills no more of them with a value of their own
_MEDIAN_STEP = 8  # pixels between those whose median fills corners
# Between the nodes of an elastic field, in largest displacements: that far apart it cannot fold.
_SPACING = 6.0
_SHORTEST_SPACING = 8.0  # pixels
_INVERSION_STEPS = 12
_POINTS_AT_ONCE = 2**14  # OpenCV looks up no more than 2**15


class QuarterTurns(Transform):
    """Turns by 90 degrees, counter-clockwise; exact."""

    def __init__(self, height: int, width: int, turns: int) -> None:
        super().__init__()
        self.height, self.width, self.turns = height, width, turns % 4

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return np.rot90(img, self.turns)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        x, y = np.asarray(coords, dtype=float).T
        turned = {
            0: (x, y),
            1: (y, self.width - x),
            2: (self.width - x, self.height - y),
            3: (self.height - y, x),
        }
        return np.stack(turned[self.turns], axis=1)

    def inverse(self) -> Transform:
        sides = (self.height, self.width) if self.turns % 2 == 0 else (self.width, self.height)
        return QuarterTurns(*sides, -self.turns)


class RandomScale(Augmentation):
    """Resizes by a random factor, of which one and its inverse are as likely.

    Of a crop only what is to be resized is cut out, so that crops have the same size at each scale.
    """

    def __init__(self, low: float, high: float, crop: T.RandomCrop | None = None) -> None:
        """
        Args:
            low, high: the smallest and the largest factor, above 0.
            crop: whose size is that after resizing; None resizes the whole image.
        """
        super().__init__()
        self.low, self.high, self.crop = low, high, crop

    def get_transform(self, image: np.ndarray) -> Transform:
        factor = float(np.exp(np.random.uniform(np.log(self.low), np.log(self.high))))
        size = image.shape[:2]
        if self.crop is None:
            return T.ResizeTransform(*size, *(max(1, round(side * factor)) for side in size))
        resized = self.crop.get_crop_size(tuple(max(1, round(side * factor)) for side in size))
        cut = [min(side, max(1, round(wanted / factor))) for side, wanted in zip(size, resized)]
        top, left = (np.random.randint(side - part + 1) for side, part in zip(size, cut))
        crop = T.CropTransform(int(left), int(top), cut[1], cut[0])
        return T.TransformList([crop, T.ResizeTransform(*cut, *resized)])


class RandomQuarterTurns(Augmentation):
    """0, 1, 2 or 3 quarter turns, each as likely."""

    def get_transform(self, image: np.ndarray) -> Transform:
        return QuarterTurns(*image.shape[:2], int(np.random.randint(4)))


class Turn(T.RotationTransform):
    """Detectron2's, with any number of channels and corners of the median instead of black."""

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        if self.angle % 360 == 0:
            return img
        warp = partial(
            cv2.warpAffine,
            M=self.rm_image,
            dsize=(self.bound_w, self.bound_h),
            flags=self.interp if interp is None else interp,
        )
        return _warped(warp, img, fill=_median(img))

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        if self.angle % 360 == 0:
            return segmentation
        size = self.bound_w, self.bound_h
        return cv2.warpAffine(
            np.ascontiguousarray(segmentation), self.rm_image, size, flags=cv2.INTER_NEAREST
        )


class RandomTurn(T.RandomRotation):
    """Detectron2's with :class:`Turn`; polygons are clipped to the image."""

    def get_transform(self, image: np.ndarray) -> Transform:
        turn = super().get_transform(image)
        if not isinstance(turn, T.RotationTransform):
            return turn
        height, width = image.shape[:2]
        turn = Turn(height, width, turn.angle, turn.expand, turn.center, turn.interp)
        # to all but polygons, which leave the image otherwise, the crop does nothing
        return T.TransformList([turn, T.CropTransform(0, 0, turn.bound_w, turn.bound_h)])


class Elastic(Transform):
    """Each pixel comes from where a displacement leads to; what comes from outside is the median.

    Args:
        field: float32 (2, H, W), x and y of the displacement in pixels.
    """

    def __init__(self, field: np.ndarray) -> None:
        super().__init__()
        self.field = field
        height, width = field.shape[1:]
        self._x = field[0] + np.arange(width, dtype=np.float32)
        self._y = field[1] + np.arange(height, dtype=np.float32)[:, None]
        #: Pixels that a pixel may move by in x and in y.
        self.reach = int(np.ceil(np.abs(field).max())) + 1

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        if not self.field.any():
            return img
        warp = partial(cv2.remap, map1=self._x, map2=self._y, interpolation=cv2.INTER_LINEAR)
        return _warped(warp, img, fill=_median(img))

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        rows, columns = (np.flatnonzero(segmentation.any(axis=axis)) for axis in (1, 0))
        moved = np.zeros_like(segmentation)
        if not len(rows):
            return moved
        # an object is small beside the image: only where it can get to
        window = tuple(
            slice(max(int(k[0]) - self.reach, 0), int(k[-1]) + self.reach + 1)
            for k in (rows, columns)
        )
        moved[window] = cv2.remap(segmentation, self._x[window], self._y[window], cv2.INTER_NEAREST)
        return moved

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Where points go to: the field says where they come from, and is inverted step by step."""
        start = np.asarray(coords, dtype=np.float32)
        if len(start) > _POINTS_AT_ONCE:
            parts = np.array_split(start, len(start) // _POINTS_AT_ONCE + 1)
            return np.concatenate([self.apply_coords(part) for part in parts])
        found = start.copy()
        for _ in range(_INVERSION_STEPS if len(start) else 0):
            # coordinates of pixels are those of their corners
            x, y = (np.ascontiguousarray(found[:, k] - 0.5) for k in (0, 1))
            for axis in (0, 1):
                shift = cv2.remap(
                    self.field[axis], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
                )
                found[:, axis] = start[:, axis] - shift.ravel()
        return found


class RandomElastic(Augmentation):
    """A smooth random field: cubic between random nodes, so far apart that it does not fold.

    Args:
        alpha: largest displacement in pixels; each image has a part of it, 0 to 1.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        spacing = max(_SPACING * self.alpha, _SHORTEST_SPACING)
        nodes = [int(np.ceil(side / spacing)) + 3 for side in (height, width)]
        noise = np.random.uniform(-1, 1, (2, *nodes)).astype(np.float32)
        whole = [int(np.ceil(count * spacing)) for count in nodes]
        field = np.stack(
            [cv2.resize(part, whole[::-1], interpolation=cv2.INTER_CUBIC) for part in noise]
        )
        # not the outermost nodes, beyond which there is nothing to curve towards
        margin = int(spacing)
        field = field[:, margin : margin + height, margin : margin + width]
        strength = self.alpha * np.random.uniform() / max(float(np.abs(field).max()), 1e-6)
        return Elastic(field * np.float32(strength))


def _median(image: np.ndarray) -> np.ndarray:
    channels = image.reshape(*image.shape[:2], -1)[::_MEDIAN_STEP, ::_MEDIAN_STEP]
    return np.median(channels, axis=(0, 1))


def _warped(warp: Callable[..., np.ndarray], image: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """A few channels at a time, (H, W) or (H, W, channels), with a fill value of each."""
    channels = image.reshape(*image.shape[:2], -1)
    parts = []
    for start in range(0, channels.shape[2], _WARPED_AT_ONCE):
        part = np.ascontiguousarray(channels[..., start : start + _WARPED_AT_ONCE])
        value = fill[start : start + _WARPED_AT_ONCE].tolist()
        moved = warp(part, borderMode=cv2.BORDER_CONSTANT, borderValue=value)
        parts.append(moved.reshape(*moved.shape[:2], -1))
    whole = np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
    return whole.reshape(*whole.shape[:2], *image.shape[2:])
