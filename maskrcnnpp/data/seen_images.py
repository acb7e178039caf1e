"""Whether Detectron2's reading does justice to the images of a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from maskrcnnpp.data.image_io import open_all_channels
from maskrcnnpp.data.input_keys import reads_microscopy
from maskrcnnpp.errors import ConfigError, DataError

_LOOKED_AT = 8  # images of a data set


def check_images_are_read(cfg: CfgNode, name: str) -> None:
    """Check by a few images that, read as the config says, they are what they are.

    Without INPUT.CHANNELS and INPUT.PERCENTILES Detectron2 reads them, through Pillow, which
    makes all white or black of 16 bits and leaves out channels, without a word.

    Args:
        cfg: of the training or evaluation.
        name: of a data set that Detectron2 knows; one without a COCO file passes.

    Raises:
        ConfigError: an image has more bits or channels than that. The message says which keys to
            set.
    """
    metadata = MetadataCatalog.get(name)
    if reads_microscopy(cfg) or not metadata.get("json_file"):
        return
    truth = json.loads(Path(metadata.json_file).read_text(encoding="utf-8"))
    names = [image.get("file_name") for image in truth.get("images", ())]
    for file in _some(names):
        path = Path(metadata.get("image_root", ""), str(file))
        try:
            with open_all_channels(path) as raster:
                dtype, channels, is_colour = raster.dtype, raster.shape[2], raster.is_colour
        except DataError:
            continue  # told when it is loaded
        if dtype != "uint8" or not is_colour:
            raise ConfigError(_advice(path, str(dtype), channels, is_colour))


def _some(names: Sequence[Any]) -> list[Any]:
    count = min(len(names), _LOOKED_AT)
    return [names[index * (len(names) - 1) // max(1, count - 1)] for index in range(count)]


def _advice(path: Path, dtype: str, channels: int, is_colour: bool) -> str:
    has = f"{channels} channel{'s' * (channels > 1)}"
    keys = []
    if not is_colour:
        keys.append(f"INPUT.CHANNELS to those that are wanted, such as {list(range(channels))}")
    if dtype != "uint8":
        keys.append("INPUT.PERCENTILES, such as [1.0, 99.8]")
    if not is_colour:
        keys.append(f"MODEL.PIXEL_MEAN and PIXEL_STD of as many entries ({channels})")
    return (
        f"{path} is {dtype} with {has}, which Detectron2 would read as something else: set "
        + ", and ".join(keys)
    )
