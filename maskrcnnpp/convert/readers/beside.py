"""Annotation files beside images: what the readers of outlines have in common."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeVar

from maskrcnnpp.coco.categories import NUCLEUS_CATEGORIES
from maskrcnnpp.convert.problems import Problem, ProblemLog, Scope
from maskrcnnpp.convert.readers.decode import IMAGE_SUFFIXES
from maskrcnnpp.convert.readers.names import image_name
from maskrcnnpp.convert.readers.pairs import Pair, named_pairs
from maskrcnnpp.convert.source import FileSource
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.pieces import FEW, count_parts
from maskrcnnpp.masks.rle import Rle

T = TypeVar("T")


class NotAnObject(DataError):
    """One item of an annotation file is no object; those beside it are as good as before."""

    scope: Scope = "object"  #: of its problem


class Region(NotAnObject):
    """An item that is no object by the rules of its layout, such as a point."""

    scope = "region"


class Unwanted(NotAnObject):
    """An object that an option of the user leaves out."""

    scope = "unwanted"


# classes that programs write for what is no object: labelme, and converters of its files
_NO_CLASSES = ("_background_", "__background__", "__ignore__")


def is_no_class(name: str) -> bool:
    """Whether a class stands for no object. QuPath has a star at the end of such names."""
    return name in _NO_CLASSES or name.endswith("*")


def stem(name: str) -> str:
    """The path without its last ending."""
    return name[: len(name) - len(PurePosixPath(name).suffix)]


def images_beside(
    names: Iterable[str], keys_of: Callable[[str], Sequence[str]]
) -> dict[str, list[str]]:
    """Annotation files, and the images that each may belong to.

    Args:
        names: of files, relative, with "/".
        keys_of: of a file's name, what its image may be called, with or without suffix, the
            likeliest first; nothing for what is no annotation file.
    """
    names = sorted(set(names))
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if is_image(name):
            by_key[name].append(name)
            by_key[stem(name)].append(name)
    found = {}
    for name in names:
        if keys := keys_of(name):
            found[name] = next((by_key[key] for key in keys if key in by_key), [])
    return found


def is_image(name: str) -> bool:
    """Whether a file is an image, by its name."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def find_entries(
    names: Sequence[str], images: Mapping[str, Sequence[str]], wanted: str
) -> tuple[dict[str, Pair | Problem], list[Problem]]:
    """What there is to read: each pair, or what is wrong with an image, by the image's name.

    Args:
        names: of all files; twice where an archive holds one twice.
        images: of :func:`images_beside`.
        wanted: what an annotation file is called, for messages.

    Returns:
        the entries, and problems of what has no name of its own.
    """
    times = Counter(names)
    of_image: dict[str, list[str]] = defaultdict(list)
    wrong: list[tuple[str, str, str]] = []  # what names it, the file, the reason
    for annotation, candidates in images.items():
        if not candidates:
            reason = "no image of this name lies beside it; put it there, or remove this file"
            wrong.append((stem(annotation), annotation, reason))
        elif len(candidates) > 1:
            reason = f"fits {' and '.join(candidates)}; keep one of them"
            wrong.append((candidates[0], annotation, reason))
        for image in candidates:
            of_image[image].append(annotation)
    good = []
    for image, theirs in of_image.items():
        twice = [file for file in (image, *theirs) if times[file] > 1]
        if twice:
            reason = "the archive holds this file twice; pack it again"
            wrong.append((image, twice[0], reason))
        elif len(theirs) > 1:
            reason = f"has {len(theirs)} annotation files, {' and '.join(theirs)}; "
            wrong.append((image, image, reason + "keep one"))
        elif len(images[theirs[0]]) == 1:
            good.append((image, theirs[0]))
    for image in sorted(filter(is_image, times)):
        if image not in of_image and not is_output(image, times):
            reason = f"has no annotation file beside it, such as {wanted}; add it, or remove this"
            wrong.append((image, image, reason))
    return _named(good, wrong)


def is_output(image: str, names: Container[str]) -> bool:
    """Whether this project wrote it beside an image, as ``x.png.overlay.png``."""
    written_for = stem(stem(image))
    return is_image(written_for) and written_for in names


def check_any(
    source: str, problems: ProblemLog, entries: Mapping[str, Pair | Problem], layout: str
) -> None:
    """That there is a pair to read.

    Args:
        source: for messages.
        problems: of the run; where there is no pair, what is wrong with each entry is told.
        entries: of :func:`find_entries`; none where the source has no annotation file.
        layout: what would be one, for messages.

    Raises:
        DataError: there is none.
    """
    if any(isinstance(entry, Pair) for entry in entries.values()):
        return
    problems.add(*(entry for entry in entries.values() if isinstance(entry, Problem)))
    problems.raise_unless_skipped(source)
    raise DataError(f"{source}: holds no image with {layout}")


def _named(
    good: Iterable[tuple[str, str]], wrong: Iterable[tuple[str, str, str]]
) -> tuple[dict[str, Pair | Problem], list[Problem]]:
    pairs, problems = named_pairs(good)
    entries: dict[str, Pair | Problem] = {**pairs}
    for named, file, reason in wrong:
        try:
            name = image_name(named)
        except DataError as error:
            problems.append(Problem("image", named, file, str(error)))
            continue
        problem = Problem("image", name, file, reason)
        if name in entries:
            problems.append(problem._replace(image=named))
        else:
            entries[name] = problem
    return entries, problems


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
    """Of a class.

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
        raise DataError(f"is no JSON, or damaged ({error})") from error


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
    """That all objects of a file were drawn on one plane (z, t) of its image.

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
    """That the outlines of a file are those of its image.

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
