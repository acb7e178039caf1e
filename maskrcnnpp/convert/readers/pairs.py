"""Images with an annotation file each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from maskrcnnpp.convert.problems import Problem
from maskrcnnpp.convert.readers.names import image_name
from maskrcnnpp.errors import DataError


class Pair(NamedTuple):
    """An image and its annotation file: names in the source."""

    name: str
    image: str
    annotation: str


def named_pairs(found: Iterable[tuple[str, str]]) -> tuple[dict[str, Pair], list[Problem]]:
    """Each pair of an image and its annotation by a name for the image, and those without one."""
    pairs: dict[str, Pair] = {}
    problems = []
    for image, annotation in found:
        try:
            name = image_name(image)
            if name in pairs:
                other = pairs[name].image
                raise DataError(f"two images would be called {name}: this and {other}; rename one")
        except DataError as error:
            problems.append(Problem("image", image, image, str(error)))
        else:
            pairs[name] = Pair(name, image, annotation)
    return pairs, problems
