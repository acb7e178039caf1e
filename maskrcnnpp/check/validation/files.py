"""The size of an image file, of which only the header is read."""

from __future__ import annotations

import os
from pathlib import Path

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import image_size


def file_size(root: Path, name: str) -> tuple[int, int]:
    """Height and width of the image ``name`` below ``root``, as it is seen: turned as EXIF says.

    Raises:
        DataError: it is missing or no image. The message holds the reason only.
    """
    path = root / name
    if not os.path.isfile(path):  # which knows of names that are too long
        raise DataError(f"there is no such file in {root}")
    try:
        return image_size(path)
    except DataError as error:
        raise DataError(str(error).removeprefix(f"{path} ")) from error
