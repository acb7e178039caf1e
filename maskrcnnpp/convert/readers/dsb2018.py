"""Reader of the 2018 Data Science Bowl layout (Kaggle, BBBC038).

    <id>/images/<id>.png    8-bit grey, RGB or RGBA
    <id>/masks/*.png        one object a file, non-zero is object

The layout may lie below one more folder, such as ``stage1_train/``.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from maskrcnnpp.coco.categories import NUCLEUS_ID
from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.convert.readers.base import Decoder, Reader, Result, list_files
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.convert.splits import classify_stain
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.plain import check_size, orientation
from maskrcnnpp.images.raster import to_be_turned
from maskrcnnpp.masks.pieces import check_background
from maskrcnnpp.masks.rle import Rle, encode_crop

_IMAGE_MODES = ("L", "LA", "RGB", "RGBA")
_KINDS = ("images", "masks")
# of a file that would be read as an image or mask if it were a PNG file
_OTHER_SUFFIXES = {
    ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".npy", ".pbm", ".pgm", ".ppm", ".tga", ".tif",
    ".tiff", ".webp",
}  # fmt: skip
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
# the names become file names on any operating system
_SAFE_NAME = re.compile(r"[\w.+=@ -]*[\w+=@-]")


@dataclass
class _Entry:
    """The files of one image."""

    name: str
    folders: set[str] = field(default_factory=set)
    images: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Images and masks that cannot be used, with the reason."""

    def problem(self) -> Problem | None:
        """The problem with the folder, seen from the names of its files alone, or None."""
        item = sorted(self.folders)[0]
        reason = None
        if len(self.folders) > 1:
            reason = f"duplicate id, found in {' and '.join(sorted(self.folders))}; keep one"
        elif len(set(self.images)) < len(self.images) or len(set(self.masks)) < len(self.masks):
            reason = "the archive holds one of its files twice; pack it again"
        elif not _SAFE_NAME.fullmatch(self.name):
            reason = "the id cannot be used as a file name; rename the folder"
        elif self.unread:
            item, reason = self.unread[0]
            if len(self.unread) > 1:
                reason += f" (and {len(self.unread) - 1} more of this image)"
        elif not self.images:
            reason = "missing image: no PNG file in images/"
        elif len(self.images) > 1:
            reason = f"{len(self.images)} images in images/, expected one"
        elif not self.masks:
            reason = "no masks: no PNG file in masks/"
        return None if reason is None else Problem("image", self.name, item, reason)


class Dsb2018Reader(Reader):
    """The images and objects of a folder or zip archive in the DSB2018 layout.

    A folder without exactly one image or without masks is left out whole, and so is one with an
    image or mask that cannot be decoded, is no PNG file, lies too deep, or has another size than
    the image, since its truth would not be complete; an empty mask is left out alone. Each adds a
    problem to the log.
    """

    def __init__(self, source: str | os.PathLike, problems: ProblemLog) -> None:
        super().__init__(source, problems)
        with FileSource(source) as files:
            too_deep = [file for file in list_files(files, problems) if not self._index(file)]
        deeper = f" ({too_deep[0]} lies too deep)" if too_deep else ""
        self._require_entries(
            f"holds no <id>/images/*.png and <id>/masks/*.png{deeper}; name the zip "
            "archive of stage1_train, or the folder it was unpacked into"
        )
        reason = "lies deeper than <folder>/<id>/images and masks; move its image's folder up"
        problems.add(*(Problem("file", "", file, reason) for file in too_deep))

    def _index(self, file: str) -> bool:
        """Note what a file is for; False when it lies too deep to be of the layout."""
        path = PurePosixPath(file)
        is_png = path.suffix.lower() == ".png"
        if not is_png and path.suffix.lower() not in _OTHER_SUFFIXES:
            return True
        place = _kind_folder(path)
        if place is None:
            return not any(part in _KINDS for part in path.parts[3:-1])
        folder = place.parent
        entry = self._entries.setdefault(folder.name, _Entry(folder.name))
        entry.folders.add(folder.as_posix())
        if place != path.parent:
            entry.unread.append((file, f"lies in a folder inside {place.name}/; move it up"))
        elif not is_png:
            entry.unread.append((file, "not a PNG file; convert it to PNG"))
        else:
            getattr(entry, place.name).append(file)
        return True

    @classmethod
    def fits(cls, names: list[str]) -> bool:
        pngs = [PurePosixPath(name) for name in names if name.lower().endswith(".png")]
        kinds = {place.name for path in pngs if (place := _kind_folder(path))}
        depths = {len(path.parts) for path in pngs if "masks" in path.parts[:-1]}
        # labels, too, may lie in masks/: here every image has a folder
        return kinds == set(_KINDS) and bool(depths) and min(depths) >= 3

    def entry(self, name: str) -> _Entry | Problem:
        return self._entries[name].problem() or self._entries[name]

    @property
    def decoder(self) -> Decoder:
        return _decode_entry


def _kind_folder(path: PurePosixPath) -> PurePosixPath | None:
    """The ``<id>/images`` or ``<id>/masks`` that a file lies in or below, if any."""
    for depth in (2, 3):
        place = PurePosixPath(*path.parts[:depth])
        if depth < len(path.parts) and place.name in _KINDS:
            return place
    return None


def _decode_entry(files: FileSource, entry: _Entry) -> Result:
    file = entry.images[0]
    try:
        data = files.read(file)
        image = _open_png(data, verify=not files.checks_sums)
        if image.mode not in _IMAGE_MODES:
            raise DataError(
                f"mode {image.mode} is not 8-bit grey, RGB or RGBA; convert the image to one"
            )
        pixels = np.asarray(image)
    except DataError as error:
        return None, [Problem("image", entry.name, file, str(error))]

    height, width = pixels.shape[:2]
    masks, problems = _decode_masks(files, entry, height, width)
    if any(problem.scope == "image" for problem in problems):
        return None, problems
    sample = Sample(
        name=entry.name,
        image=data,
        suffix=".png",
        height=height,
        width=width,
        masks=tuple(masks),
        category_ids=(NUCLEUS_ID,) * len(masks),
        stain=classify_stain(pixels),
    )
    return sample, problems


def _decode_masks(
    files: FileSource, entry: _Entry, height: int, width: int
) -> tuple[list[Rle], list[Problem]]:
    masks, problems = [], []
    for name in entry.masks:
        try:
            mask = _open_png(files.read(name), verify=not files.checks_sums)
            if mask.size != (width, height):
                raise DataError(
                    f"is of {mask.width}x{mask.height} pixels, but the image {entry.images[0]} is "
                    f"of {width}x{height}"
                )
        except DataError as error:
            problems.append(Problem("image", entry.name, name, str(error)))
            continue
        if mask.mode in ("P", "PA"):
            mask = mask.convert("RGB")  # the colour counts, not its number in the palette
        elif mask.mode in ("LA", "RGBA"):
            mask = mask.convert("L" if mask.mode == "LA" else "RGB")  # opaque is not object
        box = mask.getbbox()
        if box is None:
            problems.append(Problem("object", entry.name, name, "the mask is empty"))
            continue
        crop = np.asarray(mask.crop(box))
        if crop.ndim == 3:
            crop = crop.any(axis=2)
        if crop.shape == (height, width):
            try:
                check_background(np.where(crop, 255, 0))
            except DataError as error:
                problems.append(Problem("image", entry.name, name, str(error)))
                continue
        masks.append(encode_crop(crop, box[1], box[0], height, width))
    return masks, problems


def _open_png(data: bytes, *, verify: bool) -> Image.Image:
    """Decode a whole PNG, so that a damaged one is noticed; ``verify`` its checksums first."""
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG",))
        check_size("the file", image, len(data))
        if verify:
            image.verify()
            # an image cannot be decoded after that
            image = Image.open(io.BytesIO(data), formats=("PNG",))
        image.load()
    # its message holds a memory address
    except UnidentifiedImageError as error:
        damaged = data.startswith(_PNG_START)
        raise DataError("damaged PNG file" if damaged else "not a PNG file") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"damaged PNG file ({error})") from error
    except MemoryError as error:
        raise DataError("needs more memory than there is; cut it in pieces") from error
    # Pillow is content with all pixels, which a file may hold that lost its last bytes
    if _PNG_END not in data:
        raise DataError("damaged: cut short")
    if (turned_by := orientation(image)) != 1:
        raise DataError(to_be_turned("the file", turned_by))
    return image
