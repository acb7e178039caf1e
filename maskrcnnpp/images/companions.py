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
        by_stem[file.parent, file.stem].append(file)
    found = {}
    for file in sorted(names):
        written_for = file.with_suffix("").with_suffix("")  # x.png of x.png.overlay.png
        images = [written_for] if written_for.suffix and written_for in names else []
        for ending in (*LABEL_ENDINGS, *BY_PRODUCTS):
            if file.stem.endswith(ending) and len(file.stem) > len(ending):
                base = file.stem[: -len(ending)]
                for called in (base, base + IMAGE_ENDING):
                    images = images or by_stem.get((file.parent, called), [])
        if images and images[0] != file:
            found[file] = images[0]
    return found
