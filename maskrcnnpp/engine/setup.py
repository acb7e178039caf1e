"""Checks of a config from the command line, and set-up of the process."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm

from maskrcnnpp.coco.categories import are_same_names, classes_fault
from maskrcnnpp.config_reader import build_config, check_device, check_weights
from maskrcnnpp.data.catalog import check_dataset_is_prepared, has_rle_masks, register_dataset
from maskrcnnpp.data.input_checks import check_input
from maskrcnnpp.data.misread import check_detectron2_reads_correctly
from maskrcnnpp.data.named_by_file import (
    check_has_masks,
    check_has_objects,
    known_classes,
    register_file,
)
from maskrcnnpp.data.semantic import check_labels_agree, check_labels_fit, is_semantic
from maskrcnnpp.engine.console import set_up_loggers, silent_children
from maskrcnnpp.engine.evaluators import check_evaluator
from maskrcnnpp.engine.training_checks import check_training_keys
from maskrcnnpp.errors import ConfigError, DataError, OutputError
from maskrcnnpp.modeling.checkpoint import holds_training
from maskrcnnpp.modeling.roi_heads_keys import check_roi_heads
from maskrcnnpp.modeling.sem_seg_head import check_classes, has_deep_head
from maskrcnnpp.package_files import local_path

logger = logging.getLogger(__name__)


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
    check_config(cfg, eval_only=args.eval_only)
    _make_output(cfg, args)
    _check_weights(cfg, args)
    return cfg


def check_config(cfg: CfgNode, *, eval_only: bool = False) -> None:
    """Check all that a training, or an evaluation, needs but its weights and output folder.

    Raises:
        ConfigError, DataError: see :func:`checked_config`.
    """
    check_device(cfg)
    if cfg.DATALOADER.NUM_WORKERS < 0:
        raise ConfigError(f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS}; 0 or more")
    if eval_only:
        check_roi_heads(cfg)
    else:
        check_training_keys(cfg)
    check_area_bins(cfg)
    check_input(cfg)
    check_datasets(cfg, eval_only=eval_only)


def setup(args: argparse.Namespace) -> CfgNode:
    """Detectron2's ``default_setup`` for this project: checked config, logging, seed."""
    cfg = checked_config(args)
    set_up_process(cfg, args)
    return cfg


def set_up_process(cfg: CfgNode, args: argparse.Namespace) -> None:
    """:func:`setup` of a config that is checked.

    Raises:
        OutputError: OUTPUT_DIR cannot be written to.
    """
    logging.raiseExceptions = False  # a full disk would print a traceback for every line of log.txt
    try:
        # which Detectron2 opens to copy it into log.txt
        args = argparse.Namespace(**{**vars(args), "config_file": local_path(args.config_file)})
        set_up_loggers(cfg.OUTPUT_DIR, comm.get_rank())
        with silent_children():
            default_setup(cfg, args)
    except OSError as error:
        what = error.filename or f"OUTPUT_DIR {cfg.OUTPUT_DIR}"
        raise OutputError(f"{what} cannot be written: {error.strerror or error}") from error


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
            is_ours = register_file(name) or register_dataset(name)
            if not is_ours and name not in DatasetCatalog:
                raise ConfigError(
                    f"{key} names {name!r}, and no data set of that name is known; your own is "
                    "named by its files: annotations.json:folder_of_images"
                )
            check_dataset_is_prepared(name)
            _check_truth(cfg, name, key)
            if key == "DATASETS.TEST":
                check_evaluator(cfg, name)
            if cfg.MODEL.MASK_ON:
                # without a word of masks in the file, boxes alone are judged
                check_has_masks(name, or_boxes_alone=key == "DATASETS.TEST")
            check_detectron2_reads_correctly(cfg, name)  # last: it opens all of them
    if is_semantic(cfg) and has_deep_head(cfg):
        check_labels_agree([name for names in key_names.values() for name in names])
    if eval_only and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST is empty: name a data set to evaluate on")
    if not eval_only and not cfg.DATASETS.TRAIN:
        raise ConfigError("DATASETS.TRAIN is empty: name a data set to train on")
    for name in key_names.get("DATASETS.TRAIN", ()):
        _check_trainable(cfg, name)
    _check_class_names(cfg, eval_only=eval_only)


def _check_truth(cfg: CfgNode, name: str, key: str) -> None:
    kind = MetadataCatalog.get(name).get("evaluator_type")
    if is_semantic(cfg):
        if has_deep_head(cfg):
            check_classes(cfg)
            check_labels_fit(cfg, name, key)
        elif kind == "coco":
            raise ConfigError(
                f"{key} names {name}, a data set of objects; of these only "
                "MODEL.SEM_SEG_HEAD.NAME DeepSupervisionSemSegHead makes label images"
            )
        else:
            _check_stuff_classes(cfg, name, key)
        check_has_masks(name)
        return
    if kind == "sem_seg":
        raise ConfigError(
            f"{key} names {name}, a semantic data set, which has no objects; "
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} needs them"
        )
    _check_classes(cfg, name, key)


def _check_stuff_classes(cfg: CfgNode, name: str, key: str) -> None:
    """Check the number of classes for Detectron2's heads, to which the background is a class."""
    classes = MetadataCatalog.get(name).get("stuff_classes")
    there = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if classes and len(classes) != there:
        raise ConfigError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {there}, but {name} of {key} has {len(classes)} "
            f"with the background: {', '.join(map(str, classes[:10]))}"
        )


def _check_trainable(cfg: CfgNode, name: str) -> None:
    if cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT != "bitmask" and has_rle_masks(name):
        raise ConfigError(
            f"INPUT.MASK_FORMAT is {cfg.INPUT.MASK_FORMAT!r}; the masks of {name} are "
            'run-length encoded: set it to "bitmask"'
        )
    if cfg.MODEL.KEYPOINT_ON and not MetadataCatalog.get(name).get("keypoint_names"):
        raise ConfigError(
            f"MODEL.KEYPOINT_ON is True, and the metadata of {name} has no keypoint_names: set it "
            "to False, or register the data in Python with keypoint_names and keypoint_flip_map"
        )
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and not is_semantic(cfg):
        check_has_objects(name)


def _check_classes(cfg: CfgNode, name: str, key: str) -> None:
    """Detectron2 would end in an index error, or evaluate classes that are not there."""
    classes, there = MetadataCatalog.get(name).get("thing_classes"), cfg.MODEL.ROI_HEADS.NUM_CLASSES
    if classes and len(classes) != there:
        raise ConfigError(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {there}, but {name} of {key} has {len(classes)} "
            f"classes: {', '.join(map(str, classes[:10]))}"
        )


def _check_class_names(cfg: CfgNode, *, eval_only: bool) -> None:
    """Check that class k of the model is the same class in all data sets, as far as is known."""
    names = {name: _class_names(name) for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)}
    # Detectron2 loads these as one data set
    _check_same_names(names, () if eval_only else cfg.DATASETS.TRAIN)
    _check_same_names(names, cfg.DATASETS.TEST if cfg.TEST.LOSS else ())
    known = [(name, classes) for name, classes in names.items() if classes]
    for name, theirs in known[1:]:
        first, ours = known[0]
        if len(theirs) != len(ours):
            continue  # an evaluation of other weights than those of DATASETS.TRAIN
        if fault := classes_fault(ours, theirs):
            raise ConfigError(
                f"the classes of {first} and {name} are in another order: {fault}; the model knows "
                "a class by its number only: give the categories of both files the same ids"
            )
        if not are_same_names(ours, theirs):
            logger.warning("%s: matched by their order", _class_lists(names, first, name))


def _check_same_names(names: Mapping[str, Sequence[str]], loaded: Sequence[str]) -> None:
    for name in loaded[1:]:
        if list(names[name]) != list(names[loaded[0]]):
            raise ConfigError(
                f"{_class_lists(names, loaded[0], name)}: data sets that are used together need "
                "the same names of classes in the same order"
            )


def _class_lists(names: Mapping[str, Sequence[str]], *chosen: str) -> str:
    return ", but ".join(f"{name} has the classes {', '.join(names[name])}" for name in chosen)


def _class_names(name: str) -> Sequence[str]:
    """Names of the classes of a data set; empty where they are not known."""
    try:
        classes = known_classes(name)
    except DataError:  # of an evaluation, the data of the training need not be on this machine
        return ()
    return tuple(map(str, classes.get("thing_classes") or classes.get("stuff_classes") or ()))


def _make_output(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Make OUTPUT_DIR, where it does not hold a training that would be lost."""
    asked = vars(args)
    is_training = not args.eval_only and not any(
        asked.get(name) for name in ("dry_run", "profile", "find_lr")
    )
    if is_training and not args.resume and holds_training(cfg.OUTPUT_DIR):
        raise ConfigError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training, which would be overwritten: go on with "
            "it by --resume, or name another OUTPUT_DIR, or remove the folder"
        )
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
