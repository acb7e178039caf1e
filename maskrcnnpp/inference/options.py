"""Options for the use of a trained model."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnnpp.errors import ConfigError

#: Of a model's arithmetic; the first is that of the weights.
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How objects are looked for in an image. Each default is here and nowhere else.

    NMS, the number of objects of a tile and depth are keys of the config
    (MODEL.ROI_HEADS.NMS_THRESH_TEST, TEST.DETECTIONS_PER_IMAGE, MODEL.NESTED_FPN.DEPTH).

    Raises:
        ConfigError: one is impossible.
    """

    #: Objects below are left out. The model's own threshold is applied too.
    score_threshold: float = 0.5
    #: Pixels of the smallest and the largest object that is kept.
    min_area: int = 1
    max_area: int | None = None
    #: Probability from which a pixel of an object's box is of the object.
    mask_threshold: float = 0.5
    #: Of a pixel that several objects claim: "resolve" gives it to the one with the highest score,
    #: and drops objects that keep less than half of theirs; "keep" leaves the model's masks alone.
    overlaps: str = "resolve"
    #: Side of a tile, pixels. An image of up to that size is not tiled.
    tile_size: int = 1024
    #: Pixels that tiles share: at least the size of the largest objects.
    overlap: int = 128
    #: Tiles that the model is given at a time; with flips or scales, versions of a tile.
    batch_size: int = 1
    #: Of the pixel values of each channel of an image, such as (1, 99.8), that become 0 and 255;
    #: None takes 8-bit images as they are.
    percentiles: tuple[float, float] | None = None
    #: Also mirror each tile in both directions: four versions, each looked at twice, for boxes and
    #: for masks.
    flips: bool = False
    #: Sizes at which each tile is looked at, relative to its own.
    scales: tuple[float, ...] = (1.0,)
    #: Pixels: the median diameter of the objects of the images, which are resized so that objects
    #: are as large as in the training. None: estimated for each image. Needs a model whose card has
    #: the diameter that it was trained on; others take images as they are.
    diameter: float | None = None
    #: Of the model's arithmetic: one of :data:`PRECISIONS`.
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ConfigError(f"score_threshold is {self.score_threshold}; scores are 0 to 1")
        if not 0 < self.mask_threshold < 1:
            raise ConfigError(f"mask_threshold is {self.mask_threshold}; it lies between 0 and 1")
        if self.overlaps not in ("resolve", "keep"):
            raise ConfigError(f"overlaps is {self.overlaps!r}; choose of resolve and keep")
        if not 0 <= 2 * self.overlap <= self.tile_size or self.tile_size < 1:
            raise ConfigError(
                f"overlap is {self.overlap}; it must be at most half of tile_size, {self.tile_size}"
            )
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; it must be at least 1")
        if self.min_area < 1 or (self.max_area is not None and self.max_area < self.min_area):
            raise ConfigError(f"areas are {self.min_area} to {self.max_area}; they rise from 1")
        limits = self.percentiles
        if limits is not None and not (len(limits) == 2 and 0 <= limits[0] < limits[1] <= 100):
            raise ConfigError(f"percentiles are {limits}; they are two, and rise from 0 to 100")
        if not self.scales or not all(0 < scale < float("inf") for scale in self.scales):
            raise ConfigError(f"scales are {self.scales}; they are factors above 0, such as 1 2")
        if self.diameter is not None and not 0 < self.diameter < float("inf"):
            raise ConfigError(f"diameter is {self.diameter}; it is in pixels, above 0")
        if self.diameter is not None and tuple(self.scales) != (1.0,):
            raise ConfigError("diameter and scales both resize images: give one of them")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; choose of {list(PRECISIONS)}")

    @property
    def is_augmented(self) -> bool:
        """Whether a tile is looked at several times, and what is found is merged."""
        return self.flips or len(self.scales) > 1

    @property
    def needs_torch(self) -> bool:
        """Whether exported models of objects cannot do it."""
        return self.is_augmented or self.precision != PRECISIONS[0]

    def fits(self, area: int) -> bool:
        """Whether an object of that many pixels is kept."""
        return self.min_area <= area and (self.max_area is None or area <= self.max_area)
