"""Images that microscopists have, read region by region."""

from maskrcnnpp.images.encode import encode_image
from maskrcnnpp.images.files import (
    SUFFIXES,
    find_images,
    image_kind,
    image_size,
    open_all_channels,
    open_image,
)
from maskrcnnpp.images.raster import LARGEST, ArrayRaster, Kind, Raster

__all__ = [
    "LARGEST",
    "SUFFIXES",
    "ArrayRaster",
    "Kind",
    "Raster",
    "encode_image",
    "find_images",
    "image_kind",
    "image_size",
    "open_all_channels",
    "open_image",
]
