"""What was found in an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from maskrcnnpp.data.rle import encode_crop
from maskrcnnpp.data.sample import Rle
from maskrcnnpp.inference.rle import RleMasks
from maskrcnnpp.inference.tiling import Detection


class Objects:
    """The objects of one image, by falling score. A mask takes no more memory than its box."""

    def __init__(self, detections: Sequence[Detection], height: int, width: int) -> None:
        """
        Args:
            detections: in pixels of the image.
            height, width: its size.
        """
        self.detections = list(detections)
        self.image_size = (height, width)

    def __len__(self) -> int:
        return len(self.detections)

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.detections)

    @property
    def boxes(self) -> np.ndarray:
        """x0, y0, x1, y1 in pixels, float32 (N, 4)."""
        boxes = [entry.box for entry in self.detections]
        return np.array(boxes, dtype=np.float32).reshape(-1, 4)

    @property
    def scores(self) -> np.ndarray:
        """0..1, float32 (N,)."""
        return np.array([entry.score for entry in self.detections], dtype=np.float32)

    @property
    def categories(self) -> np.ndarray:
        """The model's 0..n-1, int64 (N,)."""
        return np.array([entry.category for entry in self.detections], dtype=np.int64)

    def labels(self) -> np.ndarray:
        """A label image: 0 is background, n is the n-th object; where two overlap, the first one.

        Returns:
            (height, width), uint16, or uint32 for more than 65535 objects.
        """
        labels = np.zeros(self.image_size, np.uint16 if len(self) < 2**16 else np.uint32)
        for number in range(len(self), 0, -1):
            entry = self.detections[number - 1]
            window = labels[entry.top : entry.bottom, entry.left : entry.right]
            window[entry.pixels] = number
        return labels

    def rles(self) -> list[Rle]:
        """Masks as COCO RLE of the whole image."""
        return [encode_crop(e.pixels, e.top, e.left, *self.image_size) for e in self.detections]

    def to_coco(
        self, image_id: Any, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO's results format, as pycocotools' ``loadRes`` reads it.

        Args:
            image_id: of the image in the data set.
            category_ids: of the data set, for the model's 0, 1, ...; None is 1, 2, ...
        """
        return [
            {
                "image_id": image_id,
                "category_id": (
                    category_ids[entry.category] if category_ids else entry.category + 1
                ),
                "bbox": [entry.box[0], entry.box[1], *_size(entry.box)],
                "score": entry.score,
                "segmentation": rle,
            }
            for entry, rle in zip(self.detections, self.rles())
        ]

    def to_instances(self) -> Instances:
        """Detectron2's structure, with :class:`RleMasks`."""
        return Instances(
            self.image_size,
            pred_boxes=Boxes(torch.from_numpy(self.boxes)),
            scores=torch.from_numpy(self.scores),
            pred_classes=torch.from_numpy(self.categories),
            pred_masks=RleMasks(self.rles(), *self.image_size),
        )


def _size(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]
