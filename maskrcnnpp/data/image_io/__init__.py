"""Images that microscopists have, read region by region."""

from maskrcnnpp.data.image_io.encode import encode_image
from maskrcnnpp.data.image_io.files import SUFFIXES, find_images, open_all_channels, open_image
from maskrcnnpp.data.image_io.raster import ArrayRaster, Raster

__all__ = [
    "SUFFIXES",
    "ArrayRaster",
    "Raster",
    "encode_image",
    "find_images",
    "open_all_channels",
    "open_image",
]
