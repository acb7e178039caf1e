"""Images and annotation files of the same name, in one folder or in folders near one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from maskrcnnpp.convert.problems import Problem
from maskrcnnpp.convert.readers.decode import IMAGE_SUFFIXES
from maskrcnnpp.convert.readers.names import IMAGE_FOLDERS


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
    """Of the images of its name, by folder, those that belong to an annotation."""
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
