"""Whether the images of a data set are read as what they are."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from maskrcnnpp.coco.file import read_coco
from maskrcnnpp.data.input_checks import reads_microscopy
from maskrcnnpp.errors import ConfigError, DataError, printable
from maskrcnnpp.images import Kind, image_kind

logger = logging.getLogger(__name__)

_AT_A_TIME = 8  # files, of which a network drive is slow to give the first bytes ...
_HEADER = 2**16  # ... so many


def check_detectron2_reads_correctly(cfg: CfgNode, name: str) -> None:
    """Check by the headers of all images that, read as the config says, they are what they are.

    Without INPUT.CHANNELS and INPUT.PERCENTILES Detectron2 reads them, through Pillow, which
    makes all white or black of 16 bits and leaves out channels, without a word. A warning names
    the images that are of another kind than the others, and those that are turned by EXIF.

    Args:
        cfg: of the training or evaluation.
        name: of a data set that Detectron2 knows; one without a COCO file passes.

    Raises:
        ConfigError: an image has more bits or channels than the config reads. The message names
            it, and the keys to set.
        DataError: an image cannot be read.
    """
    metadata = MetadataCatalog.get(name)
    if not metadata.get("json_file"):
        return
    images = read_coco(metadata.json_file)["images"]
    names = [str(image.get("file_name")) for image in images]
    kinds = _kinds([Path(metadata.get("image_root", ""), name) for name in names])
    for path, kind in kinds.items():
        if reads_microscopy(cfg):
            _check_keys(cfg, path, kind)
        else:
            _check_photograph(path, kind)
    _warn_of_mixed(kinds)
    turned = [path for path, kind in kinds.items() if kind.orientation != 1]
    if turned:
        logger.warning(
            "%d of %d images, such as %s, are turned as their EXIF tag says: check that their "
            "annotations are of the turned image, or save the images the way they are seen",
            *(len(turned), len(kinds), printable(turned[0])),
        )


def _kinds(paths: Sequence[Path]) -> dict[Path, Kind]:
    """Kinds of the images by path, without missing files, which others report."""
    there = [path for path in dict.fromkeys(paths) if path.is_file()]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        # only fetched by threads: while one of them has Pillow open a large image, all would
        return {path: image_kind(path) for path, _ in zip(there, pool.map(_fetch, there))}


def _fetch(path: Path) -> None:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.read(_HEADER)


def _check_photograph(path: Path, kind: Kind) -> None:
    """Check that Detectron2 itself reads the image as what it is."""
    if kind.dtype != "uint8" or not kind.is_colour:
        raise ConfigError(_advice(path, kind))
    if not kind.is_first:
        raise DataError(
            f"{path} holds several images, and Detectron2 would read the first, which is not the "
            "largest: save the one that is meant alone"
        )


def _check_keys(cfg: CfgNode, path: Path, kind: Kind) -> None:
    """Check that the keys of the config fit the image."""
    channels = cfg.INPUT.CHANNELS
    if channels and max(channels) >= kind.channels:
        raise ConfigError(
            f"{path} has {_count(kind)}, and INPUT.CHANNELS is {list(channels)}, from 0: choose "
            "channels that all images have"
        )
    if (not channels and not kind.is_colour) or (
        not cfg.INPUT.PERCENTILES and kind.dtype != "uint8"
    ):
        raise ConfigError(_advice(path, kind))


def _warn_of_mixed(kinds: Mapping[Path, Kind]) -> None:
    """Report images of another number type, or channels of another meaning, than most."""
    groups = Counter((kind.dtype, _meaning(kind)) for kind in kinds.values())
    if len(groups) < 2:
        return
    first = {}
    for path, kind in kinds.items():
        first.setdefault((kind.dtype, _meaning(kind)), path)
    shown = "; ".join(
        f"{count} of {dtype} with {meaning}, such as {printable(first[dtype, meaning])}"
        for (dtype, meaning), count in groups.most_common()
    )
    logger.warning("the images are of several kinds, check that they belong together: %s", shown)


def _meaning(kind: Kind) -> str:
    return "grey or colours" if kind.is_colour else _count(kind)


def _count(kind: Kind) -> str:
    return f"{kind.channels} channel{'s' * (kind.channels > 1)}"


def _advice(path: Path, kind: Kind) -> str:
    keys = []
    if not kind.is_colour:
        keys.append("INPUT.CHANNELS to the one that is wanted, such as [0], as a grey image")
    if kind.dtype != "uint8":
        keys.append("INPUT.PERCENTILES, such as [1.0, 99.8]")
    text = (
        f"{path} is {kind.dtype} with {_count(kind)}, which Detectron2 would read as something "
        "else: set " + ", and ".join(keys)
    )
    if not kind.is_colour and kind.channels > 1:
        text += (
            f". For several channels set INPUT.CHANNELS, such as {list(range(kind.channels))}, and "
            "MODEL.PIXEL_MEAN and PIXEL_STD of as many entries: `maskrcnnpp inspect` suggests them"
        )
    return text
