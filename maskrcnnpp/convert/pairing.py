"""Images of a source: which files they are, their names, and the annotation of each.

There are three ways to pair them: annotation files beside images (:func:`images_beside`), of the
same name in folders near one another (:func:`find_by_stem`), and a table that names images
(:class:`Lookup`). Label images have rules of their own:
:mod:`maskrcnnpp.convert.readers.label_names`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from maskrcnnpp.convert.problems import Problem, ProblemLog
from maskrcnnpp.errors import DataError
from maskrcnnpp.files import escapes

#: Endings of images: what Detectron2 and this project train on.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
#: Endings of label images and masks; of JPEG files only masks can be read.
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".npy", ".jpg", ".jpeg")
JPEG_SUFFIXES = (".jpg", ".jpeg")
#: Names of folders that only say that there are images, in lower case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw", "tissue images", "tissue_images")
# what may be a file name on any operating system
_UNSAFE = re.compile(r'[\x00-\x1f<>:"|?*\\]')
_SHORT = 200  # characters, so that endings have a place
_SHOWN = 3  # names in a message


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


def stem(name: str) -> str:
    """The path without its last ending."""
    return name[: len(name) - len(PurePosixPath(name).suffix)]


def is_image(name: str) -> bool:
    """Whether a file is an image, by its name."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_output(image: str, names: Container[str]) -> bool:
    """Whether this project wrote it beside an image, as ``x.png.overlay.png``."""
    written_for = stem(stem(image))
    return is_image(written_for) and written_for in names


def images_beside(
    names: Iterable[str], keys_of: Callable[[str], Sequence[str]]
) -> dict[str, list[str]]:
    """Annotation files, and the images that each may belong to.

    Args:
        names: of files, relative, with "/".
        keys_of: of a file's name, what its image may be called, with or without suffix, the
            likeliest first; nothing for what is not an annotation file.
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


def find_entries(
    names: Sequence[str], images: Mapping[str, Sequence[str]], wanted: str
) -> tuple[dict[str, Pair | Problem], list[Problem]]:
    """Entries to read by the image's name: a pair each, or what is wrong with the image.

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


def check_any(
    source: str, problems: ProblemLog, entries: Mapping[str, Pair | Problem], layout: str
) -> None:
    """Check that there is a pair to read.

    Args:
        source: for messages.
        problems: of the run; where there is no pair, what is wrong with each entry is reported.
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


def find_by_stem(names: Iterable[str], suffix: str) -> tuple[list[tuple[str, str]], list[Problem]]:
    """Images and annotations of the same name, of one folder, or of folders beside or inside.

    Args:
        names: of files, relative, with "/".
        suffix: of annotations, in lower case, with the dot.

    Returns:
        image and annotation of each pair; annotations without one image, and images without an
        annotation in folders where others have one.
    """
    annotations = []
    images: dict[str, dict[PurePosixPath, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.suffix.lower() == suffix:
            annotations.append(name)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images[path.stem][path.parent].append(name)
    owner: dict[str, str] = {}
    problems = []
    for name in annotations:
        path = PurePosixPath(name)
        found = _images_of(path, images.get(path.stem, {}))
        if not found:
            reason = f"has no image; put {path.stem}.tif or .png beside it or into Images/"
        elif len(found) > 1:
            reason = f"has several images, {' and '.join(found)}; keep one"
        elif found[0] in owner:
            reason = f"is of the same image as {owner[found[0]]}; keep one"
        else:
            owner[found[0]] = name
            continue
        problems.append(Problem("image", path.stem, name, reason))
    annotated = {PurePosixPath(name).stem for name in annotations}
    folders = {PurePosixPath(image).parent for image in owner}
    for stem in images.keys() - annotated:
        for image in (name for folder in folders for name in images[stem].get(folder, ())):
            reason = f"has no annotation {stem}{suffix}; add it, or move the image away"
            problems.append(Problem("file", "", image, reason))
    return list(owner.items()), problems


def _images_of(annotation: PurePosixPath, there: dict[PurePosixPath, list[str]]) -> list[str]:
    """The images that belong to an annotation; ``there`` are all of its name, by folder."""
    if annotation.parent in there:
        return there[annotation.parent]
    above = annotation.parent.parent
    beside = [
        folder
        for folder in there
        if above in (folder, folder.parent) or folder.parent == annotation.parent
    ]
    # told apart from folders of other pictures of the same names, such as Overlay/
    images = [folder for folder in beside if folder.name.lower() in IMAGE_FOLDERS]
    return [name for folder in images or beside for name in there[folder]]


def choose_file(
    source: str, names: Iterable[str], suffix: str, option: str, wanted: str | None
) -> str:
    """The one file of a source that has a suffix.

    Args:
        source: what it is called in errors.
        names: of its files, as :func:`list_files` gives them.
        suffix: lower case, with the dot.
        option: of the command, which names the file.
        wanted: what it names.

    Raises:
        DataError: there is none, or more than one and none is named.
    """
    kind = suffix[1:].upper()
    found = Counter(name for name in names if name.lower().endswith(suffix))
    if wanted is not None and wanted not in found:
        raise DataError(f"{source}: holds no {kind} file {wanted}; {option} takes a name inside it")
    if not found:
        raise DataError(f"{source}: holds no {kind} file; put it beside the folder of the images")
    if wanted is None and len(found) > 1:
        raise DataError(
            f"{source}: holds {len(found)} {kind} files; name one with {option}: {_listed(found)}"
        )
    chosen = next(iter(found)) if wanted is None else wanted
    if found[chosen] > 1:
        raise DataError(f"{source}: {chosen}: the archive holds it twice; pack it again")
    return chosen


def _listed(names: Iterable[str]) -> str:
    names = sorted(set(names))
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


class Lookup:
    """Finds files of some kinds by their path or name.

    Only files that the source lists are ever given: what a name says cannot lead out of it.
    """

    def __init__(
        self,
        names: Iterable[str],
        suffixes: Iterable[str],
        *,
        folder: str | None = None,
        source: str = "",
    ) -> None:
        """
        Args:
            names: of the source's files, as :func:`list_files` gives them.
            suffixes: of the files that are looked for, lower case, with the dot.
            folder: in which paths begin; None for anywhere.
            source: what it is called in errors.

        Raises:
            DataError: no file lies in the folder.
        """
        self._suffixes = tuple(suffixes)
        self._by_base: dict[str, list[str]] = defaultdict(list)
        self._folder = None if folder is None else _clean(folder)
        is_there = not self._folder
        for name in names:
            self._by_base[name.rsplit("/", 1)[-1]].append(name)
            is_there = is_there or name.startswith(self._in_folder(""))
        if not is_there:
            raise DataError(f"{source}: has no folder {folder} with files; check --images")

    def find(self, path: Any) -> str:
        """The file that is called so.

        Raises:
            DataError: there is none, or more than one, or it is not an image. The message holds the
                reason only.
        """
        if not isinstance(path, str) or not path:
            raise DataError("has no file_name")
        is_out = escapes(path)
        path = _clean(path)
        base = path.rsplit("/", 1)[-1]
        if not base.lower().endswith(self._suffixes):
            raise DataError(f"is not an image that can be read: {', '.join(self._suffixes)}")
        if is_out:  # of the machine it was written on: what counts is how it ends
            return self._by_tail(path, base)
        return self._only(self._candidates(path, base), path)

    def _by_tail(self, path: str, base: str) -> str:
        """The file of the source whose path ends most alike."""
        parts = [part for part in path.split("/") if part not in ("", "..")]
        tails = ["/".join(parts[k:]) for k in range(len(parts))]
        found = next(filter(None, (self._ending(tail, base) for tail in tails)), [])
        if not found:
            raise DataError(
                f"the path leads out of the source, which has no image {base}; put it there"
            )
        return self._only(found, base)

    def _ending(self, tail: str, base: str) -> list[str]:
        named = self._by_base.get(base, [])
        if self._folder is not None:
            return [name for name in named if name == self._in_folder(tail)]
        return [name for name in named if name == tail or name.endswith(f"/{tail}")]

    def _candidates(self, path: str, base: str) -> list[str]:
        named = self._by_base.get(base, [])
        if self._folder is not None:
            return [name for name in named if name == self._in_folder(path)]
        exact = [name for name in named if name == path]
        return exact or self._ending(path, base) or named

    def _in_folder(self, path: str) -> str:
        return f"{self._folder}/{path}" if self._folder else path

    def _only(self, found: list[str], path: str) -> str:
        if not found:
            place = f" in {self._folder}" if self._folder else ""
            raise DataError(
                f"the image is missing{place}: put it into the source, or check --images"
            )
        if len(set(found)) > 1:
            raise DataError(
                f"several files are called so, name their folder with --images: {_listed(found)}"
            )
        if len(found) > 1:
            raise DataError("the archive holds this file twice; pack it again")
        return found[0]


def _clean(path: str) -> str:
    """A path as sources write it: "/" between parts, no "./", nothing for the source itself."""
    cleaned = PurePosixPath(path.replace("\\", "/")).as_posix()
    return "" if cleaned == "." else cleaned
