"""Objects out of a semantic prediction: connected pixels, or those parted by a watershed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.masks.paste import RleMasks
from maskrcnnpp.masks.rle import Rle

if TYPE_CHECKING:
    import torch
    from detectron2.config import CfgNode
    from detectron2.structures import Instances

METHODS = ("components", "watershed")
_TOUCH = np.ones((3, 3))  # by an edge or a corner


class SemanticObject(NamedTuple):
    """An object made of a semantic prediction."""

    category: int  #: the model's, 0..n-1
    score: float  #: mean probability of its pixels
    mask: Rle


@dataclass(frozen=True)
class ObjectFinder:
    """How pixels of a class become objects.

    Attributes:
        method: "components": pixels that touch, by an edge or a corner, are an object;
            "watershed": these are parted where they are narrow.
        neck: pixels by which a place has to be nearer to the edge than the middles on both its
            sides, for the watershed to part there.
        min_area: pixels of the smallest object.
        first_class: of the channels; those before it are background.
    """

    method: str = "watershed"
    neck: float = 1.0
    min_area: int = 10
    first_class: int = 0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ObjectFinder:
        """The finder that ``MODEL.SEM_SEG_HEAD.OBJECTS`` sets up.

        Raises:
            ConfigError: a value is unknown or impossible.
        """
        keys = cfg.MODEL.SEM_SEG_HEAD.OBJECTS
        name = "MODEL.SEM_SEG_HEAD.OBJECTS"
        if keys.METHOD not in METHODS:
            raise ConfigError(f"{name}.METHOD is {keys.METHOD!r}; it can be one of {list(METHODS)}")
        if keys.NECK <= 0:
            raise ConfigError(f"{name}.NECK is {keys.NECK}; it must be above 0")
        if keys.MIN_AREA < 1:
            raise ConfigError(f"{name}.MIN_AREA is {keys.MIN_AREA}; it must be at least 1")
        has_background = cfg.MODEL.SEM_SEG_HEAD.ACTIVATION == "softmax"
        return cls(keys.METHOD, keys.NECK, keys.MIN_AREA, int(has_background))

    def __call__(self, probabilities: torch.Tensor) -> Instances:
        """
        Args:
            probabilities: (channels, H, W), 0..1.

        Returns:
            on the CPU, with ``pred_boxes``, ``scores`` (mean probability of its pixels),
            ``pred_classes`` (channel, less ``first_class``) and ``pred_masks`` (RleMasks), by
            class and then from the top down.
        """
        return _instances(self.find(probabilities.float().cpu().numpy()), *probabilities.shape[1:])

    def find(self, values: np.ndarray) -> list[SemanticObject]:
        """Objects in probabilities, an array (channels, H, W)."""
        from scipy import ndimage  # which models that find objects do without

        from maskrcnnpp.masks.labels import label_masks

        found: list[SemanticObject] = []
        is_class = self._is_class(values)
        for channel in range(self.first_class, len(values)):
            labels = self.label(is_class[channel])
            numbers, masks = label_masks(labels)
            scores = ndimage.mean(values[channel], labels, numbers) if numbers else []
            category = channel - self.first_class
            found += [SemanticObject(category, float(s), m) for s, m in zip(scores, masks)]
        return found

    def label(self, mask: np.ndarray) -> np.ndarray:
        """Objects of a mask.

        Args:
            mask: bool (H, W).

        Returns:
            int (H, W): 0 is background, and each object has a number from 1 of its own.
        """
        from scipy import ndimage

        from maskrcnnpp.masks.split import split_at_necks

        labels, _ = ndimage.label(mask, structure=_TOUCH)
        if self.method == "watershed" and labels.any():
            labels = split_at_necks(labels, self.neck)
        areas = np.bincount(labels.ravel())
        areas[0] = self.min_area
        return np.where(areas[labels] < self.min_area, 0, labels)

    def _is_class(self, values: np.ndarray) -> np.ndarray:
        if self.first_class == 0:
            return values > 0.5
        return values.argmax(axis=0) == np.arange(len(values))[:, None, None]


def _instances(found: list[SemanticObject], height: int, width: int) -> Instances:
    import torch
    from detectron2.structures import Boxes, Instances

    rles = [mask for _, _, mask in found]
    boxes = np.asarray(coco_mask.toBbox(rles), np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Instances(
        (height, width),
        pred_boxes=Boxes(torch.from_numpy(boxes)),
        scores=torch.tensor([score for _, score, _ in found], dtype=torch.float32),
        pred_classes=torch.tensor([category for category, _, _ in found], dtype=torch.int64),
        pred_masks=RleMasks(rles, height, width),
    )
