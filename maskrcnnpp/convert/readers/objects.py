"""Objects and classes of annotation files: what readers have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from maskrcnnpp.coco.categories import NUCLEUS_CATEGORIES
from maskrcnnpp.convert.pairing import Pair
from maskrcnnpp.convert.problems import Problem, Scope
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.pieces import FEW, count_parts
from maskrcnnpp.masks.rle import Rle

T = TypeVar("T")


class NotAnObject(DataError):
    """One item of an annotation file is not an object; those beside it are as good as before."""

    scope: Scope = "object"  #: of its problem


class Region(NotAnObject):
    """An item that is not an object by the rules of its layout, such as a point."""

    scope = "region"


class Unwanted(NotAnObject):
    """An object that an option of the user leaves out."""

    scope = "unwanted"


# classes that programs write for what is not an object: labelme, and converters of its files
_NO_CLASSES = ("_background_", "__background__", "__ignore__")


def is_no_class(name: str) -> bool:
    """Whether a class stands for no object. QuPath has a star at the end of such names."""
    return name in _NO_CLASSES or name.endswith("*")


def make_categories(
    class_names: Sequence[str] | None, found: Iterable[str]
) -> Sequence[Mapping[str, Any]]:
    """The ``categories`` list: the names given, in their order, or else those found, sorted.

    Raises:
        DataError: no name is given, or one twice.
    """
    if class_names is None:
        names = sorted(name for name in set(found) if not is_no_class(name))
    else:
        names = list(class_names)
    if class_names is not None and (not names or len(set(names)) < len(names)):
        raise DataError(f"class names {names}: at least one is needed, and each once")
    if not names:
        return NUCLEUS_CATEGORIES
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


def category_id(ids: Mapping[str, int], name: str) -> int:
    """Category id of a class.

    Raises:
        NotAnObject: it is not wanted, or stands for no object.
    """
    if name in ids:
        return ids[name]
    if is_no_class(name):
        raise Region(f"is of the class {name!r}, which stands for no object")
    raise Unwanted(f"is of the class {name!r}, which is not among those wanted")


def read_json(files: FileSource, name: str) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read.
    """
    content = files.read(name)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON, or damaged ({error})") from error


def collect(
    pair: Pair, items: Iterable[tuple[str, T]], make: Callable[[T], tuple[Rle | None, int]]
) -> tuple[list[Rle], list[int], list[Problem]]:
    """Masks and categories of the items of an annotation file, and those that are no objects.

    Args:
        pair: of the file.
        items: with what each is called in messages.
        make: mask, None where it is empty, and category of an item.

    Raises:
        DataError: an item cannot be read, so that an object would be missing; it seems to be many
            objects; or most lie outside the image.
    """
    masks, ids, problems = [], [], []
    outside = 0
    for called, item in items:
        try:
            mask, category = make(item)
            if mask is None:
                outside += 1
                raise NotAnObject("is empty: it has no pixel inside the image")
            if (parts := count_parts(mask)) > FEW:
                raise DataError(
                    f"is in {parts} pieces: is it {parts} objects? split it in the program that "
                    "drew it"
                )
        except NotAnObject as error:
            problems.append(Problem(error.scope, pair.name, pair.annotation, f"{called} {error}"))
        except DataError as error:
            raise DataError(f"{called} {error}") from error
        else:
            masks.append(mask)
            ids.append(category)
    check_inside(outside, len(masks))
    return masks, ids, problems


def check_planes(planes: Collection[tuple[Any, Any]]) -> None:
    """Check that all objects of a file were drawn on one plane (z, t) of its image.

    Raises:
        DataError: they were not. The message holds the reason only.
    """
    if len(planes) > 1:
        shown = ", ".join(f"z {z} t {t}" for z, t in sorted(planes)[:3])
        raise DataError(
            f"has objects of {len(planes)} planes ({shown}), but an image is one: export each "
            "plane as an image, with its objects alone"
        )


def check_inside(outside: int, inside: int) -> None:
    """Check that the outlines of a file are those of its image: most have pixels in it.

    Args:
        outside: how many have no pixel in the image.
        inside: how many others there are.

    Raises:
        DataError: most have none. The message holds the reason only.
    """
    if outside > max(1, inside):
        raise DataError(
            f"{outside} of {outside + inside} outlines have no pixel in the image: are their "
            "coordinates those of a whole slide, of which the image is a part? subtract its corner "
            "from them, or export them for this image"
        )
