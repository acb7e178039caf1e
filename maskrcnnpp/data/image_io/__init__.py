"""Images that microscopists have, read region by region."""

from maskrcnnpp.data.image_io.files import SUFFIXES, find_images, open_image
from maskrcnnpp.data.image_io.raster import ArrayRaster, Raster

__all__ = ["SUFFIXES", "ArrayRaster", "Raster", "find_images", "open_image"]
