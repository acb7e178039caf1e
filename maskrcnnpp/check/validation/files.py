"""The size of an image file, of which only the header is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from maskrcnnpp.convert.source import escapes
from maskrcnnpp.errors import DataError
from maskrcnnpp.images import image_size


def file_name_problem(name: Any) -> str:
    """Why an image's ``file_name`` cannot be used; empty where it can."""
    if name is None:
        return "no file_name"
    if not isinstance(name, str) or not name.strip():
        return "file_name is no text, or an empty one"
    if "\0" in name or escapes(name):
        return "file_name leads out of the folder of images; name files relative to it"
    return ""


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
