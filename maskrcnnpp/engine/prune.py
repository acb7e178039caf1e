"""A training's checkpoint and config, pruned to a depth: what ``maskrcnnpp prune`` writes."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from detectron2.config import CfgNode

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.files import atomic_path, write_text
from maskrcnnpp.modeling.checkpoint import read_checkpoint
from maskrcnnpp.modeling.depths import depth_of_weights
from maskrcnnpp.modeling.pruning import full_depth, pruned_config, pruned_weights
from maskrcnnpp.version import __version__

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model_pruned.pth"
#: Entry of the checkpoint that says what it was pruned from. Detectron2 leaves it alone.
ORIGIN = "maskrcnnpp"


def prune_checkpoint(
    cfg: CfgNode, weights_file: str | os.PathLike, depth: int, output_dir: str | os.PathLike
) -> Path:
    """Write ``config.yaml`` and ``model_pruned.pth`` of ``weights_file`` at ``depth``.

    Only weights are kept, no optimizer, schedule or iteration. The config names them as
    MODEL.WEIGHTS and ``output_dir`` as OUTPUT_DIR, to be evaluated or trained further.

    Returns:
        The config's path.

    Raises:
        ConfigError: the file cannot be read, is not of the model of ``cfg``, there is no such
            depth, or the folder is of something else. Nothing is written then.
    """
    output_dir = Path(output_dir)
    full_depth(cfg)
    _check_output(output_dir)
    checkpoint = read_checkpoint(weights_file)
    try:
        # weights first: those of another depth are why a depth is out of range
        weights = pruned_weights(cfg, checkpoint["model"], depth)
    except ConfigError as error:
        raise ConfigError(f"{weights_file}: {error}") from error
    pruned = pruned_config(cfg, depth)
    pruned.MODEL.WEIGHTS = os.path.abspath(output_dir / WEIGHTS_FILE)
    pruned.OUTPUT_DIR = os.path.abspath(output_dir)
    origin = {
        "cut_from": os.path.abspath(weights_file),
        "from_depth": depth_of_weights(checkpoint["model"]),
        "depth": depth,
        "version": __version__,
    }
    with atomic_path(output_dir / WEIGHTS_FILE) as temporary:
        torch.save({"model": weights, ORIGIN: origin}, temporary)
    write_text(output_dir / CONFIG_FILE, pruned.dump())
    return output_dir / CONFIG_FILE


def _check_output(output_dir: Path) -> None:
    """A folder of something else, such as the training that is pruned, stays as it is."""
    if (output_dir / CONFIG_FILE).exists() and not (output_dir / WEIGHTS_FILE).exists():
        raise ConfigError(
            f"{output_dir} holds a {CONFIG_FILE} that is not of pruning, and would be overwritten: "
            "choose another --output-dir"
        )
    if (output_dir / "last_checkpoint").exists():
        raise ConfigError(
            f"{output_dir} holds a training that began from a pruned model: choose another "
            "--output-dir"
        )
