"""From a yaml file and KEY VALUE overrides to a config."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import IO

import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from maskrcnnpp.config import add_maskrcnnpp_config
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.pretrained import PREFIX, timm_weights_file

logger = logging.getLogger(__name__)

# "SEED -1" in a config or on the command line gives Detectron2's random seeds back
DEFAULT_SEED = 0


def build_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Config of a yaml file and KEY VALUE overrides, frozen.

    Where neither sets them, ``MODEL.DEVICE`` is what the machine has and ``SEED`` is fixed.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown or of the wrong type.
    """
    cfg = get_cfg()
    add_maskrcnnpp_config(cfg)
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.SEED = DEFAULT_SEED
    if config_file:
        _merge_file(cfg, config_file)
    try:
        cfg.merge_from_list(list(opts))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"on the command line: {_message(error)}; overrides are KEY VALUE pairs, "
            "such as SOLVER.BASE_LR 0.01"
        ) from error
    is_half = cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.PRECISION == "float16"
    if is_half and not cfg.MODEL.DEVICE.startswith("cuda"):
        # the same config is to run on both
        logger.warning("float16 needs CUDA: SOLVER.AMP.ENABLED is set to False")
        cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    return cfg


def check_device(cfg: CfgNode) -> None:
    """Check that ``MODEL.DEVICE`` is there.

    Raises:
        ConfigError: it is not.
    """
    try:
        torch.empty(0, device=cfg.MODEL.DEVICE)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}: {reason}") from error


def check_weights(cfg: CfgNode) -> None:
    """Check that the file of ``MODEL.WEIGHTS`` is there, where it names one.

    Raises:
        ConfigError: it is not, or ``timm://NAME`` cannot be had.
    """
    weights = cfg.MODEL.WEIGHTS
    if weights.startswith(PREFIX):
        timm_weights_file(weights.removeprefix(PREFIX))
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise ConfigError(f"MODEL.WEIGHTS is {weights}: there is no such file")


class _LocalFiles(CfgNode):
    """Reads files of this machine only, the bases of a config too."""

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        if "://" in filename:
            raise ConfigError(
                f"{filename} is no file of this machine, and configs are not fetched: save it, and "
                "name the file as the config or as its _BASE_"
            )
        return open(filename, encoding="utf-8")


def _merge_file(cfg: CfgNode, config_file: str) -> None:
    try:
        _LocalFiles.load_yaml_with_base(config_file)  # before Detectron2 would fetch a base
        cfg.merge_from_file(config_file, allow_unsafe=False)
    except OSError as error:
        raise ConfigError(
            f"cannot read the config {error.filename or config_file}: {error.strerror or error}; "
            "see configs/ for those of this project"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"in {config_file}: _BASE_ leads back to the file itself") from error
    except (AttributeError, TypeError) as error:
        raise ConfigError(f"in {config_file}: not a mapping of keys to values") from error
    except (AssertionError, KeyError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"in {config_file}: {_message(error)}") from error


def _message(error: Exception) -> str:
    # a KeyError's own text is the repr of its message
    return str(error.args[0]) if error.args else str(error)
