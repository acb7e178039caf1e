"""Packing a training as a model that can be handed on.

Config, weights in half precision, the same as a file that runs without PyTorch, and a card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode
from safetensors.torch import save

from maskrcnnpp.config_reader import changed_keys
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.exporting.export import export_model
from maskrcnnpp.files import write_bytes, write_text
from maskrcnnpp.modeling.checkpoint import read_checkpoint
from maskrcnnpp.models import (
    CARD_FILE,
    CARD_KEYS,
    CONFIG_FILE,
    EXPORTED_FILE,
    EXPORTED_KEY,
    WEIGHTS_FILE,
    find_model,
)


def pack_model(
    cfg: CfgNode,
    weights: str | Path,
    card: Mapping[str, Any],
    folder: Path,
    *,
    is_exported: bool = True,
) -> None:
    """Write a model's folder, as :func:`maskrcnnpp.models.find_model` reads it.

    Args:
        cfg: of the training.
        weights: its checkpoint.
        card: entries of :data:`CARD_KEYS` without sha256; ``options`` are those of prediction.
        folder: new, or a model that is replaced.
        is_exported: with ``model.onnx``, which runs without PyTorch.

    Raises:
        ConfigError: the card lacks an entry, the checkpoint cannot be read, or the model cannot be
            exported.
        OutputError: the folder cannot be written.
    """
    lacking = [key for key in CARD_KEYS if key != "sha256" and not card.get(key)]
    if lacking:
        raise ConfigError(f"the card lacks {', '.join(lacking)}")
    content = save({name: _halved(x) for name, x in read_checkpoint(weights)["model"].items()})
    card = {**card, "sha256": hashlib.sha256(content).hexdigest()}
    card.pop(EXPORTED_KEY, None)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS_FILE, content)
    exported = folder / EXPORTED_FILE
    if is_exported:
        export_model(cfg, folder / WEIGHTS_FILE, exported, classes=card.get("classes"))
        card[EXPORTED_KEY] = hashlib.sha256(exported.read_bytes()).hexdigest()
    else:
        exported.unlink(missing_ok=True)  # of a model that is replaced
    text = yaml.safe_dump(_to_hand_on(cfg), sort_keys=False)
    write_text(folder / CONFIG_FILE, f"# {card['name']} {card['version']}: keys that differ from "
               f"the defaults\n{text}")  # fmt: skip
    write_text(folder / CARD_FILE, yaml.safe_dump(dict(card), sort_keys=False, width=90))
    find_model(str(folder))  # it reads what was written


def _to_hand_on(cfg: CfgNode) -> dict[str, Any]:
    """Keys that differ from the defaults, without those that only concern the training run."""
    keys = changed_keys(cfg)
    for name in ("OUTPUT_DIR", "SEED"):
        keys.pop(name, None)
    for name in ("DEVICE", "WEIGHTS"):
        keys.get("MODEL", {}).pop(name, None)
    return keys


def _halved(weight: torch.Tensor) -> torch.Tensor:
    """Kernels in half precision; norms and biases, which are few, as they are."""
    weight = weight.detach().contiguous()
    return weight.half() if weight.is_floating_point() and weight.dim() > 1 else weight
