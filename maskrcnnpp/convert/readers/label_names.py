"""Rules for which image a label image, or mask, belongs to, by the names of the files alone.

Nothing is passed over in silence: an image without a label image beside others that have one, a
label image without an image, and a second file of a name are problems.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from maskrcnnpp.convert.pairing import IMAGE_FOLDERS, IMAGE_SUFFIXES, LABEL_SUFFIXES, is_output
from maskrcnnpp.convert.problems import Problem
from maskrcnnpp.convert.readers.cellpose import SEG_ENDING
from maskrcnnpp.images.companions import BY_PRODUCTS, IMAGE_ENDING

#: Names of folders of label images, in lower case.
LABEL_FOLDERS = (
    *("labels", "label", "masks", "mask", "annotations", "gt", "ground_truth", "groundtruth"),
    *("label masks", "label_masks"),
)

_OME = ".ome"

Found = tuple[list[tuple[str, str]], list[Problem]]


def find_pairs(names: Iterable[str], endings: Iterable[str]) -> Found:
    """Images and their label images: beside one another, or in folders side by side.

    Args:
        names: of files, relative, with "/".
        endings: of label images beside their image.

    Returns:
        image and label image of each pair, sorted; and what is wrong with the others.
    """
    return _Pairing(names, tuple(endings)).found()


class _Pairing:
    def __init__(self, names: Iterable[str], endings: Sequence[str]) -> None:
        self._endings = endings
        self._times = Counter(names)
        #: By folder and by name without suffix, images.
        self._images: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._labels: list[str] = []
        self._inside: dict[str, set[str]] = defaultdict(set)
        for name in sorted(self._times):
            suffix = PurePosixPath(name).suffix.lower()
            folder, stem = _parts(name)
            if suffix in IMAGE_SUFFIXES:
                self._images[folder][stem].append(name)
                self._inside[folder.rpartition("/")[0]].add(folder)
            if suffix in LABEL_SUFFIXES:
                self._labels.append(name)
        self._problems: list[Problem] = []
        self._folders: dict[str, list[str]] = {}
        self._stems: dict[str, set[str]] = defaultdict(set)
        for name in self._labels:
            folder, stem = _parts(name)
            self._stems[folder].add(stem)

    def found(self) -> Found:
        labels_of: dict[str, list[str]] = defaultdict(list)
        alone = []
        for name in self._labels:
            images = self._beside(name)
            if not images and _is_label_folder(_parts(name)[0]):
                images = self._in_folders(name)
                if not images:
                    alone.append(name)
            if len(images) > 1:
                reason = f"fits {' and '.join(images)}; keep one of them"
                self._tell("image", _parts(name)[1], name, reason)
            for image in images:
                labels_of[image].append(name)
        taken = {name for found in labels_of.values() for name in found}
        pairs = []
        for image, labels in labels_of.items():
            if image in taken and len(labels_of) > 1 and not self._is_own_image(image, labels):
                continue
            pairs += self._one(image, labels)
        self._tell_rest(dict(pairs), labels_of, taken, alone)
        fitting = Counter(labels for _, labels in pairs)
        return sorted(pair for pair in pairs if fitting[pair[1]] == 1), self._problems

    def _is_own_image(self, image: str, labels: Sequence[str]) -> bool:
        """Whether a file that looks like labels of another is an image: ``images/a_mask.png``."""
        return any(_parts(name)[0] != _parts(image)[0] for name in labels)

    def _one(self, image: str, labels: list[str]) -> list[tuple[str, str]]:
        if len(self._endings) == 1:  # as the user names it
            labels = [n for n in labels if _parts(n)[1].endswith(self._endings[0])] or labels
        if len(labels) == 2 and any(_parts(name)[1].endswith("_cp_masks") for name in labels):
            # of one run of Cellpose
            labels = [name for name in labels if not name.lower().endswith(SEG_ENDING)] or labels
        twice = [name for name in (image, *labels) if self._times[name] > 1]
        if twice:
            reason = "the archive holds this file twice; pack it again"
            self._tell("image", _parts(image)[1], twice[0], reason)
        elif len(labels) > 1:
            reason = f"has several label images, {' and '.join(labels)}; keep one, or choose with "
            reason += "--label-ending or --pairs"
            self._tell("image", _parts(image)[1], image, reason)
        else:
            return [(image, labels[0])]
        return []

    def _beside(self, name: str) -> list[str]:
        """Images in the folder of a label image that it is called after."""
        folder, stem = _parts(name)
        there = self._images.get(folder, {})
        for ending in self._endings:
            if stem.endswith(ending) and len(stem) > len(ending):
                base = stem[: -len(ending)]
                path = f"{folder}/{base}" if folder else base
                images = [n for n in there.get(_parts(path)[1], ()) if n == path]
                for called in (base, base + IMAGE_ENDING):
                    images = images or there.get(called, [])
                if images := [image for image in images if image != name]:
                    return images
        return []

    def _in_folders(self, name: str) -> list[str]:
        """Images of the name of a label image in the folder beside its own."""
        folder, stem = _parts(name)
        if folder not in self._folders:
            self._folders[folder] = self._image_folders(folder)
        for called in self._called(stem):
            for own in self._folders[folder]:
                if images := self._images[own].get(called):
                    return images
        return []

    def _called(self, stem: str) -> Iterator[str]:
        """Possible names of the image of a label image in another folder."""
        for base in (stem, *(stem[: -len(e)] for e in self._endings if stem.endswith(e))):
            yield from (base, base + IMAGE_ENDING, PurePosixPath(base).stem, base + _OME)

    def _image_folders(self, folder: str) -> list[str]:
        """The folder beside a folder of labels in which its images are."""
        above = folder.rpartition("/")[0]
        beside = [one for one in sorted(self._inside.get(above, ())) if not _is_label_folder(one)]
        called = {base for stem in self._stems[folder] for base in self._called(stem)}
        there = [one for one in beside if one != above and called & self._images[one].keys()]
        named = [one for one in there if one.rpartition("/")[2].lower() in IMAGE_FOLDERS]
        chosen = named or there
        if len(chosen) > 1:
            reason = (
                f"its labels fit the files in {' and '.join(chosen)}: keep one of these folders, "
            )
            self._tell("file", "", folder, reason + "call it images, or list files with --pairs")
        elif others := [one for one in there if one not in chosen]:
            reason = f"has files of the names of images too; only {chosen[0]} is taken for images"
            for other in others:
                self._tell("note", "", other, reason)
        return chosen if len(chosen) == 1 else []

    def _tell_rest(
        self,
        pairs: dict[str, str],
        labels_of: dict[str, list[str]],
        taken: set[str],
        alone: list[str],
    ) -> None:
        """Images without labels where others have them, and the other way round."""
        label_folders = {_parts(labels)[0] for labels in pairs.values()}
        for name in alone:
            if _parts(name)[0] in label_folders:
                reason = "has no image of its name; add it, or move this file away"
                self._tell("file", "", name, reason)
        for folder in sorted({_parts(image)[0] for image in pairs}):
            for name in (name for found in self._images[folder].values() for name in found):
                if name in labels_of or name in taken or name in alone or self._is_other(name):
                    continue
                if self._looks_like_labels(name):
                    reason = "has no image of its name beside it; add it, or move this file away"
                else:
                    labels = next(n for i, n in pairs.items() if _parts(i)[0] == folder)
                    reason = f"has no label image, as another has {labels}; add it, or move this "
                    reason += "file away"
                self._tell("file", "", name, reason)

    def _looks_like_labels(self, name: str) -> bool:
        return any(_parts(name)[1].endswith(ending) for ending in self._endings)

    def _is_other(self, name: str) -> bool:
        """Whether another program, or this one, wrote it beside an image."""
        folder, stem = _parts(name)
        bases = (stem[: -len(ending)] for ending in BY_PRODUCTS if stem.endswith(ending))
        return is_output(name, self._times) or any(base in self._images[folder] for base in bases)

    def _tell(self, scope: str, image: str, item: str, reason: str) -> None:
        self._problems.append(Problem(scope, image, item, reason))


def _parts(name: str) -> tuple[str, str]:
    """The folder of a file, and its name without suffix. Text: there may be very many."""
    folder, _, base = name.rpartition("/")
    return folder, base.rpartition(".")[0] or base


def _is_label_folder(folder: str) -> bool:
    return folder.rpartition("/")[2].lower() in LABEL_FOLDERS
