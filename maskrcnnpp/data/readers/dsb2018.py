"""Reader of the 2018 Data Science Bowl layout (Kaggle, BBBC038).

    <id>/images/<id>.png    8-bit grey, RGB or RGBA
    <id>/masks/*.png        one object a file, non-zero is object

The layout may lie below one more folder, such as ``stage1_train/``.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from maskrcnnpp.data.categories import NUCLEUS_ID
from maskrcnnpp.data.problems import Problem, ProblemLog
from maskrcnnpp.data.readers.source import FileSource, escapes, is_hidden
from maskrcnnpp.data.rle import encode_crop
from maskrcnnpp.data.sample import Rle, Sample
from maskrcnnpp.data.splits import classify_stain
from maskrcnnpp.errors import DataError

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
        """What is wrong with the folder, seen from the names of its files alone."""
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


class Dsb2018Reader:
    """The images and objects of a folder or zip archive in the DSB2018 layout.

    Args:
        source: zip archive (read in place) or folder.
        problems: takes up whatever is wrong with single files. The caller decides what follows,
            with :meth:`ProblemLog.raise_unless_skipped` after reading.

    Raises:
        DataError: the source does not exist, is not a whole archive, or holds nothing of this
            layout.
    """

    def __init__(self, source: str | os.PathLike, problems: ProblemLog) -> None:
        self.source = os.fspath(source)
        self._problems = problems
        self._entries: dict[str, _Entry] = {}
        too_deep: list[str] = []
        files = FileSource(source)
        try:
            for file in sorted(files.files()):
                if not self._index(file):
                    too_deep.append(file)
        finally:
            files.close()
        if not self._entries:
            problems.raise_unless_skipped(source)
            deeper = f" ({too_deep[0]} lies too deep)" if too_deep else ""
            raise DataError(
                f"{source}: holds no <id>/images/*.png and <id>/masks/*.png{deeper}; name the zip "
                "archive of stage1_train, or the folder it was unpacked into"
            )
        reason = "lies deeper than <folder>/<id>/images and masks; move its image's folder up"
        problems.add(*(Problem("file", "", file, reason) for file in too_deep))

    def _index(self, file: str) -> bool:
        """Note what a file is for; False when it lies too deep to be of the layout."""
        if escapes(file):
            reason = "the path leads out of the archive; do not trust this archive"
            self._problems.add(Problem("file", "", file, reason))
            return True
        path = PurePosixPath(file)
        is_png = path.suffix.lower() == ".png"
        if is_hidden(file) or not (is_png or path.suffix.lower() in _OTHER_SUFFIXES):
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

    @property
    def names(self) -> list[str]:
        """Every id of the source, sorted; bad ones too."""
        return sorted(self._entries)

    def read(
        self, names: Iterable[str] | None = None, *, workers: int | None = None
    ) -> Iterator[Sample]:
        """Yield the samples of ``names`` (default: all) in sorted order, without the bad ones.

        A folder without exactly one image or without masks is left out whole, and so is one with
        an image or mask that cannot be decoded, is no PNG file, lies too deep, or has another size
        than the image, since its truth would not be complete; an empty mask is left out alone.
        Each adds a problem to the log.

        Args:
            names: ids to read, each one of :attr:`names`.
            workers: processes that decode; default one a CPU core, 0 for none beside this one.
        """
        entries = []
        for name in sorted(self.names if names is None else names):
            problem = self._entries[name].problem()
            if problem is None:
                entries.append(self._entries[name])
            else:
                self._problems.add(problem)
        workers = max(2, os.cpu_count() or 2) if workers is None else workers
        results = _decode_all(self.source, entries, min(workers, len(entries)))
        for sample, problems in results:
            self._problems.add(*problems)
            if sample is not None:
                yield sample


def _kind_folder(path: PurePosixPath) -> PurePosixPath | None:
    """The ``<id>/images`` or ``<id>/masks`` that a file lies in or below, if any."""
    for depth in (2, 3):
        place = PurePosixPath(*path.parts[:depth])
        if depth < len(path.parts) and place.name in _KINDS:
            return place
    return None


_Result = tuple[Sample | None, list[Problem]]


def _decode_all(source: str, entries: list[_Entry], workers: int) -> Iterator[_Result]:
    """Decode every entry in order, a bounded number ahead of the consumer."""
    if workers < 2:
        files = FileSource(source)
        try:
            yield from (_decode_entry(files, entry) for entry in entries)
        finally:
            files.close()
        return
    # Forked workers start at once; spawned ones would import PyTorch first. They run only
    # Pillow and NumPy, which are safe there. macOS and Windows cannot fork safely.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(source,))
    try:
        pending: deque[Future[_Result]] = deque()
        for entry in entries:
            pending.append(pool.submit(_decode_in_worker, entry))
            if len(pending) >= 4 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker_files: FileSource | None = None


def _start_worker(source: str) -> None:
    global _worker_files
    # Ctrl-C reaches the whole process group; the parent alone reacts, and stops the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker_files = FileSource(source)  # the archive's index is read once a process


def _decode_in_worker(entry: _Entry) -> _Result:
    assert _worker_files is not None
    return _decode_entry(_worker_files, entry)


def _decode_entry(files: FileSource, entry: _Entry) -> _Result:
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
                    f"mask of {mask.width}x{mask.height} pixels for an image of {width}x{height}"
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
        masks.append(encode_crop(crop, box[1], box[0], height, width))
    return masks, problems


def _open_png(data: bytes, *, verify: bool) -> Image.Image:
    """Decode a whole PNG, so that a damaged one is noticed; ``verify`` its checksums first."""
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG",))
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
    # Pillow is content with all pixels, which a file may hold that lost its last bytes
    if _PNG_END not in data:
        raise DataError("damaged: cut short")
    return image
