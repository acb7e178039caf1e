"""What images are called in the data set that is written."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from maskrcnnpp.convert.source import escapes
from maskrcnnpp.errors import DataError

# what may be a file name on any operating system
_UNSAFE = re.compile(r'[\x00-\x1f<>:"|?*\\]')
_SHORT = 200  # characters, so that endings have a place
#: Names of folders that only say that there are images, in lower case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw", "tissue images", "tissue_images")


def image_name(file: str) -> str:
    """A name for the image of a file: its path without suffix, "/" as "__".

    Folders that only say that there are images, such as ``images/``, are left out.

    Raises:
        DataError: the path leads out of the source, or cannot be a file name.
    """
    if escapes(file):
        raise DataError("the path leads out of the source; do not trust it")
    parts = PurePosixPath(file).with_suffix("").parts
    kept = [part for part in parts[:-1] if part.lower() not in IMAGE_FOLDERS]
    name = "__".join((*kept, parts[-1]))
    if _UNSAFE.search(name) or name.strip(". ") != name or len(name) > _SHORT:
        raise DataError("cannot be a file name on every system; rename it")
    return name
