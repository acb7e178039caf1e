"""Files beside an image that show it again: its labels, and what programs wrote of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

#: Endings of a label image's name, before its suffix. Cellpose has its labels in ``_cp_masks``, and
#: in ``_seg.npy`` with other things; this project's own are called as the image with its suffix.
LABEL_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_seg", "_gt", ".labels")
#: Endings of further pictures that Cellpose writes beside an image.
BY_PRODUCTS = ("_flows", "_cp_output", "_cp_outlines", "_outlines")
#: Endings of what ``maskrcnnpp predict`` writes after the whole name of an image.
OUTPUT_ENDINGS = (".labels.tif", ".overlay.png")
#: That images of Cellpose may have where their labels have another ending.
IMAGE_ENDING = "_img"


def find_companions(files: Iterable[Path]) -> dict[Path, Path]:
    """Those of the files that belong to another one of them, which lies in the same folder.

    Returns:
        the image of each.
    """
    by_stem: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    names = set(files)
    for file in sorted(names):
        for stem in dict.fromkeys((file.stem, file.stem.removesuffix(".ome"))):
            by_stem[file.parent, stem].append(file)
    found = {}
    for file in sorted(names):
        written_for = (file.name.removesuffix(e) for e in OUTPUT_ENDINGS if file.name.endswith(e))
        images = [file.with_name(name) for name in written_for if file.with_name(name) in names]
        for ending in (*LABEL_ENDINGS, *BY_PRODUCTS):
            if file.stem.lower().endswith(ending) and len(file.stem) > len(ending):
                base = file.stem[: -len(ending)]
                for called in (base, base + IMAGE_ENDING):
                    images = images or by_stem.get((file.parent, called), [])
        if images and images[0] != file:
            found[file] = images[0]
    return found
