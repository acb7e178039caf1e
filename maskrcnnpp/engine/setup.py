"""From the command line to a frozen config and a set-up process."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from maskrcnnpp.config import add_maskrcnnpp_config
from maskrcnnpp.data.catalog import check_dataset_is_prepared
from maskrcnnpp.errors import ConfigError

logger = logging.getLogger(__name__)

# "SEED: -1" in a config or on the command line gives Detectron2's random seeds back
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
    try:
        if config_file:
            cfg.merge_from_file(config_file)
    except OSError as error:
        raise ConfigError(
            f"cannot read the config {error.filename or config_file}: {error.strerror or error}; "
            "see configs/ for those of this project"
        ) from error
    except (AssertionError, KeyError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"in {config_file}: {_message(error)}") from error
    try:
        cfg.merge_from_list(list(opts))
    except (AssertionError, KeyError, ValueError) as error:
        raise ConfigError(
            f"on the command line: {_message(error)}; overrides are KEY VALUE pairs, "
            "such as SOLVER.BASE_LR 0.01"
        ) from error
    if cfg.SOLVER.AMP.ENABLED and not cfg.MODEL.DEVICE.startswith("cuda"):
        # Detectron2's mixed precision is CUDA's; the same config is to run on both
        logger.warning("mixed precision needs CUDA: SOLVER.AMP.ENABLED is set to False")
        cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """Detectron2's ``default_setup`` for this project: config, logging, seed.

    Args:
        args: of ``detectron2.engine.default_argument_parser``.

    Raises:
        ConfigError: see :func:`build_config`; also weights that are not there.
        DataError: a data set of this project that has not been prepared.
    """
    cfg = build_config(args.config_file, args.opts)
    datasets = cfg.DATASETS.TEST if args.eval_only else cfg.DATASETS.TRAIN + cfg.DATASETS.TEST
    for name in datasets:
        check_dataset_is_prepared(name)
    _check_weights(cfg, args)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="maskrcnnpp")
    return cfg


def _check_weights(cfg: CfgNode, args: argparse.Namespace) -> None:
    weights = cfg.MODEL.WEIGHTS
    resumes = args.resume and os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint"))
    if resumes:
        return
    if args.eval_only and not weights:
        raise ConfigError(
            "MODEL.WEIGHTS is empty: name the checkpoint to evaluate, such as "
            f"MODEL.WEIGHTS {os.path.join(cfg.OUTPUT_DIR, 'model_final.pth')}"
        )
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise ConfigError(f"MODEL.WEIGHTS is {weights}: there is no such file")


def _message(error: Exception) -> str:
    # a KeyError's own text is the repr of its message
    return str(error.args[0]) if error.args else str(error)
