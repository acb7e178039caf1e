"""Files of a source as arrays. Errors hold the reason only; the caller knows the name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np

from maskrcnnpp.coco.categories import NUCLEUS_ID
from maskrcnnpp.convert.pairing import Pair
from maskrcnnpp.convert.problems import Problem
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.convert.splits import classify_stain
from maskrcnnpp.errors import DataError
from maskrcnnpp.images import open_all_channels
from maskrcnnpp.masks.rle import Rle


def decode_image(files: FileSource, name: str, *, turned: bool = False) -> tuple[bytes, np.ndarray]:
    """An image file and its pixels.

    Args:
        files, name: where it is.
        turned: whether annotations are known to be of the image as EXIF turns it. If they are not,
            one that is to be turned is refused.

    Returns:
        the bytes of the file, and (height, width, channels): grey, colour without alpha, or all
        channels that there are.

    Raises:
        DataError: it cannot be read, or is too large.
    """
    content = files.read(name)
    return content, decode_pixels(content, name, turned=turned)


def as_labels(numbers: np.ndarray) -> np.ndarray:
    """A label image of any number type as integers, (height, width).

    Raises:
        DataError: it has not two dimensions, or numbers below 0 or with a fraction.
    """
    labels = np.asarray(numbers)
    if labels.ndim != 2 or 0 in labels.shape:
        shape = "x".join(map(str, labels.shape))
        raise DataError(f"is not a label image: {shape}, where one number a pixel is needed")
    return as_integers(labels)


def as_integers(numbers: np.ndarray) -> np.ndarray:
    """Numbers of any type as integers.

    Raises:
        DataError: they are none, or below 0.
    """
    numbers = np.asarray(numbers)
    if numbers.dtype.kind == "b":
        numbers = numbers.astype(np.uint8)
    if numbers.dtype.kind == "f":
        # above 2**53 not every integer can be told from the next
        if not (np.abs(numbers) < 2**53).all() or (numbers != np.round(numbers)).any():
            raise DataError("has numbers that are no integers: is it a probability map?")
        numbers = numbers.astype(np.int64)
    if numbers.dtype.kind not in "iu":
        raise DataError(f"has numbers of type {numbers.dtype}; integers are needed")
    if numbers.size and numbers.min() < 0:
        raise DataError(f"has negative numbers, such as {numbers.min()}; 0 is background")
    return numbers


def stain_of(image: np.ndarray) -> str:
    """:func:`classify_stain` of 8-bit grey and colour; "" for others, of which it knows nothing."""
    is_known = image.dtype == np.uint8 and image.shape[2] in (1, 3)
    return classify_stain(image) if is_known else ""


def make_sample(
    name: str,
    file: str,
    image: tuple[bytes, np.ndarray],
    masks: Sequence[Rle],
    category_ids: Sequence[int] | None = None,
) -> Sample:
    """The sample of an image file that is kept as it is.

    Args:
        name: of the sample.
        file: name in the source, whose suffix is kept.
        image: bytes and pixels, as :func:`decode_image` gives them.
        masks: of the objects.
        category_ids: of each; None is nuclei.
    """
    content, pixels = image
    return Sample(
        name=name,
        image=content,
        suffix=PurePosixPath(file).suffix.lower(),
        height=pixels.shape[0],
        width=pixels.shape[1],
        masks=tuple(masks),
        category_ids=tuple([NUCLEUS_ID] * len(masks) if category_ids is None else category_ids),
        stain=stain_of(pixels),
    )


def decode_pair(
    files: FileSource,
    pair: Pair,
    annotated: Callable[[np.ndarray], tuple[Sequence[Rle], Sequence[int] | None, list[Problem]]],
) -> tuple[Sample | None, list[Problem]]:
    """The sample of an image with an annotation file.

    Args:
        files, pair: where they are.
        annotated: of the image's pixels, what its annotation file has: masks, categories (None is
            nuclei) and problems. Where it raises a DataError, the image is skipped.
    """
    file = pair.image
    try:
        image = decode_image(files, pair.image)
        file = pair.annotation
        masks, category_ids, problems = annotated(image[1])
    except DataError as error:
        return None, [Problem("image", pair.name, file, str(error))]
    return make_sample(pair.name, pair.image, image, masks, category_ids), problems


def check_size(size: tuple[int, int], image: np.ndarray, name: str) -> None:
    """Check that ``size``, an annotation's height and width, is that of the image ``name``.

    Raises:
        DataError: it is not.
    """
    if tuple(size) != image.shape[:2]:
        height, width = image.shape[:2]
        raise DataError(
            f"is of {size[1]}x{size[0]} pixels, but the image {name} is of {width}x{height}"
        )


def decode_pixels(content: bytes, name: str, *, turned: bool = False) -> np.ndarray:
    """:func:`decode_image` of the bytes of a file; ``name`` is for messages."""
    path = PurePosixPath(name)
    try:
        with open_all_channels(path, content) as raster:
            if raster.is_colour:
                raster.choose(None)
            if not turned:
                raster.check_upright()
            return raster.whole()
    except DataError as error:
        raise DataError(str(error).replace(f"{path} ", "").replace(f"{path}: ", "")) from error
    except MemoryError as error:
        raise DataError("needs more memory than there is; cut it in pieces") from error
