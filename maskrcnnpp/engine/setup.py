"""From the command line to a checked config and a set-up process."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from maskrcnnpp.config import add_maskrcnnpp_config
from maskrcnnpp.data.catalog import check_dataset_is_prepared, has_rle_masks
from maskrcnnpp.errors import ConfigError

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
    if cfg.SOLVER.AMP.ENABLED and not cfg.MODEL.DEVICE.startswith("cuda"):
        # Detectron2's mixed precision is CUDA's; the same config is to run on both
        logger.warning("mixed precision needs CUDA: SOLVER.AMP.ENABLED is set to False")
        cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    return cfg


def checked_config(args: argparse.Namespace) -> CfgNode:
    """The config of a command, with all that can be checked before a model is built.

    Args:
        args: of ``detectron2.engine.default_argument_parser``.

    Raises:
        ConfigError: see :func:`build_config`; also a device, data set, weights or output folder
            that is not there.
        DataError: a data set of this project that has not been prepared.
    """
    cfg = build_config(args.config_file, args.opts)
    check_device(cfg)
    check_area_bins(cfg)
    check_datasets(cfg, eval_only=args.eval_only)
    _check_output(cfg)
    _check_weights(cfg, args)
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """Detectron2's ``default_setup`` for this project: checked config, logging, seed."""
    cfg = checked_config(args)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="maskrcnnpp")
    return cfg


def _merge_file(cfg: CfgNode, config_file: str) -> None:
    try:
        cfg.merge_from_file(config_file)
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


def check_area_bins(cfg: CfgNode) -> None:
    """Check that ``TEST.AREA_BINS`` are two areas.

    Raises:
        ConfigError: they are not.
    """
    bins = cfg.TEST.AREA_BINS
    if not (
        len(bins) == 2 and all(isinstance(b, (int, float)) for b in bins) and 0 < bins[0] < bins[1]
    ):
        raise ConfigError(
            f"TEST.AREA_BINS is {list(bins)}; it needs two rising areas in pixels, such as "
            "[1024, 9216]"
        )


def check_datasets(cfg: CfgNode, *, eval_only: bool = False) -> None:
    """Check that the data sets of a config are there and that their masks can be read.

    Raises:
        ConfigError, DataError: see :func:`checked_config`.
    """
    key_names = {"DATASETS.TEST": cfg.DATASETS.TEST}
    if not eval_only:
        key_names["DATASETS.TRAIN"] = cfg.DATASETS.TRAIN
    for key, names in key_names.items():
        for name in names:
            if name not in DatasetCatalog:
                raise ConfigError(f"{key} names {name!r}, and no data set of that name is known")
            check_dataset_is_prepared(name)
    if eval_only and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST is empty: name a data set to evaluate on")
    if not eval_only and not cfg.DATASETS.TRAIN:
        raise ConfigError("DATASETS.TRAIN is empty: name a data set to train on")
    for name in key_names.get("DATASETS.TRAIN", ()):
        if cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT != "bitmask" and has_rle_masks(name):
            raise ConfigError(
                f"INPUT.MASK_FORMAT is {cfg.INPUT.MASK_FORMAT!r}; the masks of {name} are "
                'run-length encoded: set it to "bitmask"'
            )


def _check_output(cfg: CfgNode) -> None:
    try:
        Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"OUTPUT_DIR is {cfg.OUTPUT_DIR}, which cannot be made or used: {error.strerror}"
        ) from error


def _check_weights(cfg: CfgNode, args: argparse.Namespace) -> None:
    weights = cfg.MODEL.WEIGHTS
    if args.resume and os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        return
    if args.eval_only and not weights:
        raise ConfigError(
            "MODEL.WEIGHTS is empty: name the checkpoint to evaluate, such as "
            f"MODEL.WEIGHTS {os.path.join(cfg.OUTPUT_DIR, 'model_final.pth')}"
        )
    check_weights(cfg)


def check_weights(cfg: CfgNode) -> None:
    """Check that the file of ``MODEL.WEIGHTS`` is there, where it names one.

    Raises:
        ConfigError: it is not.
    """
    weights = cfg.MODEL.WEIGHTS
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise ConfigError(f"MODEL.WEIGHTS is {weights}: there is no such file")


def _message(error: Exception) -> str:
    # a KeyError's own text is the repr of its message
    return str(error.args[0]) if error.args else str(error)
