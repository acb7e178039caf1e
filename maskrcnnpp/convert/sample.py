"""The one thing that every dataset reader yields."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnnpp.masks.rle import Rle


@dataclass(frozen=True)
class Sample:
    """One image and its objects.

    Attributes:
        name: unique name within the data set; the image is stored as ``name + suffix``.
        image: the encoded image file, stored byte for byte.
        suffix: of the image file, with the dot, such as ``".png"``.
        height, width: of the image, pixels.
        masks: one mask an object, each of the image's size and not empty.
        category_ids: one id an object, from 1, as in the COCO ``categories`` list.
        stain: what kind of image it is, as :func:`maskrcnnpp.convert.splits.classify_stain`
            names it; splits are stratified by it. Empty when not known.
    """

    name: str
    image: bytes
    suffix: str
    height: int
    width: int
    masks: tuple[Rle, ...]
    category_ids: tuple[int, ...]
    stain: str = ""

    def __post_init__(self) -> None:
        if len(self.masks) != len(self.category_ids):
            raise ValueError(
                f"{self.name}: {len(self.masks)} masks but {len(self.category_ids)} category ids"
            )
