"""Objects that were found in an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnnpp.inference.tiling import Detection, Tile
from maskrcnnpp.masks.paste import RleMasks
from maskrcnnpp.masks.rle import Rle, encode_crop

if TYPE_CHECKING:
    from detectron2.structures import Instances


class Objects:
    """The objects of one image, by falling score. A mask takes no more memory than its box."""

    def __init__(
        self,
        detections: Sequence[Detection],
        height: int,
        width: int,
        *,
        scale: float = 1.0,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """
        Args:
            detections: in pixels of the image.
            height, width: its size.
            scale: factor by which the image was resized for the model.
            numbers: of the objects in label images and tables; None: from 1, in their order.
        """
        self.scale = scale
        self.numbers = range(1, len(detections) + 1) if numbers is None else numbers
        self.detections = list(detections)
        self.image_size = (height, width)

    def with_detections(self, detections: Sequence[Detection]) -> Objects:
        """Others of the same image."""
        return Objects(detections, *self.image_size, scale=self.scale)

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
        """A label image: 0 is background; where two objects overlap, the number of the first one.

        Returns:
            (height, width), uint16, or uint32 for numbers above 65535.
        """
        labels = np.zeros(self.image_size, self.label_type)
        for number, entry in reversed(list(zip(self.numbers, self.detections))):
            window = labels[entry.top : entry.bottom, entry.left : entry.right]
            window[entry.pixels] = number
        return labels

    @property
    def label_type(self) -> type[np.unsignedinteger]:
        """Integer type of :meth:`labels`."""
        return np.uint16 if max(self.numbers, default=0) < 2**16 else np.uint32

    def by_tile(self, side: int) -> Iterator[tuple[Tile, list[int]]]:
        """Squares that cover the image, row by row, and the indices of what reaches into each."""
        height, width = self.image_size
        inside: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, entry in enumerate(self.detections):
            for row in range(entry.top // side, (entry.bottom - 1) // side + 1):
                for column in range(entry.left // side, (entry.right - 1) // side + 1):
                    inside[row, column].append(index)
        for row, top in enumerate(range(0, height, side)):
            for column, left in enumerate(range(0, width, side)):
                tile = Tile(top, left, min(top + side, height), min(left + side, width))
                yield tile, inside.pop((row, column), [])

    def label_tiles(self, side: int) -> Iterator[np.ndarray]:
        """:meth:`labels` as tiles of (side, side), row by row, the last ones filled up with 0."""
        kind = self.label_type
        for tile, indices in self.by_tile(side):
            labels = np.zeros((side, side), kind)
            for index in reversed(indices):
                found = self.detections[index].within(tile)
                assert found is not None  # by_tile gives those that reach into it
                place, pixels = found
                rows = slice(place.top - tile.top, place.bottom - tile.top)
                columns = slice(place.left - tile.left, place.right - tile.left)
                labels[rows, columns][pixels] = self.numbers[index]
            yield labels

    def rles(self) -> list[Rle]:
        """Masks as COCO RLE of the whole image."""
        return [self._rle(entry) for entry in self.detections]

    def _rle(self, entry: Detection) -> Rle:
        return encode_crop(entry.pixels, entry.top, entry.left, *self.image_size)

    def to_coco(
        self, image_id: Any, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO's results format, as pycocotools' ``loadRes`` reads it.

        Args:
            image_id: of the image in the data set.
            category_ids: of the data set, for the model's 0, 1, ...; None is 1, 2, ...
        """
        return list(self.iter_coco(image_id, category_ids))

    def iter_coco(
        self, image_id: Any, category_ids: Sequence[int] | None = None
    ) -> Iterator[dict[str, Any]]:
        """:meth:`to_coco`, an object at a time."""
        for entry in self.detections:
            known = category_ids[entry.category] if category_ids else entry.category + 1
            yield {
                "image_id": image_id,
                "category_id": known,
                "bbox": [entry.box[0], entry.box[1], *_size(entry.box)],
                "score": entry.score,
                "segmentation": self._rle(entry),
            }

    def to_instances(self) -> Instances:
        """Detectron2's structure, with :class:`RleMasks`."""
        import torch
        from detectron2.structures import Boxes, Instances

        return Instances(
            self.image_size,
            pred_boxes=Boxes(torch.from_numpy(self.boxes)),
            scores=torch.from_numpy(self.scores),
            pred_classes=torch.from_numpy(self.categories),
            pred_masks=RleMasks(self.rles(), *self.image_size),
        )


def _size(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]


class SemanticObjects(Objects):
    """Objects made of a semantic prediction, and the prediction itself.

    Attributes:
        probabilities: float32 (channels, height, width), 0..1.
        first_class: of the channels; those before it are background.
    """

    def __init__(
        self,
        detections: Sequence[Detection],
        probabilities: np.ndarray,
        first_class: int = 0,
    ) -> None:
        super().__init__(detections, *probabilities.shape[1:])
        self.probabilities = probabilities
        self.first_class = first_class

    def with_detections(self, detections: Sequence[Detection]) -> SemanticObjects:
        return SemanticObjects(detections, self.probabilities, self.first_class)

    def classes(self) -> np.ndarray:
        """A label image of the classes: 0 is background, n the n-th class; uint8 (height, width).

        Where several classes are likelier than not, the last of them.
        """
        if self.first_class:
            return self.probabilities.argmax(axis=0).astype(np.uint8)
        labels = np.zeros(self.image_size, np.uint8)
        for number, values in enumerate(self.probabilities, start=1):
            labels[values > 0.5] = number
        return labels
