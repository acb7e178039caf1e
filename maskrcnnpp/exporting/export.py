"""Export of a training's config and checkpoint to a file that runs without Detectron2."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from maskrcnnpp.benchmark.fingerprint import config_fingerprint
from maskrcnnpp.config_reader import check_weights
from maskrcnnpp.data.semantic import is_semantic
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.exporting.formats import target_file, write
from maskrcnnpp.exporting.graphs import DetectorGraph, SemanticGraph
from maskrcnnpp.exporting.support import check_config, check_model
from maskrcnnpp.files import atomic_path
from maskrcnnpp.images.intensity import ModelInput
from maskrcnnpp.inference.naming import find_naming
from maskrcnnpp.inference.semantic_instances import ObjectFinder
from maskrcnnpp.inference.session import ABOUT_VERSION, Arrays, Session, check_format
from maskrcnnpp.inference.torch_model import check_image_size, norms_of_image
from maskrcnnpp.modeling.checkpoint import load_to_use
from maskrcnnpp.modeling.nested_fpn import NESTED_BACKBONES
from maskrcnnpp.modeling.pruning import pruned_config
from maskrcnnpp.version import __version__

_SEED = 0
# of the check: objects are found again within a pixel and a score, and this part of them at least
_PIXEL, _SCORE, _PART = 0.1, 1e-3, 0.9


def export_model(
    cfg: CfgNode,
    weights: str | os.PathLike,
    path: str | os.PathLike,
    format: str = "onnx",
    *,
    depth: int | None = None,
    classes: Sequence[str] | None = None,
) -> Path:
    """Write a trained model as a file, and check that it finds what the model finds.

    It takes images of any size in batches of any number, and gives any number of objects.

    Args:
        cfg: of the training, ``config.yaml`` of its OUTPUT_DIR.
        weights: a checkpoint of it.
        path: of the file, or of the folder to put it in as ``model.onnx``, ...
        format: a key of :data:`maskrcnnpp.exporting.FORMATS`.
        depth: to prune a nested pyramid or network to; None: as the config says.
        classes: their names; None: those of the data that the model was trained on.

    Returns:
        the file. OpenVINO has its weights in another one beside it, ``.bin``.

    Raises:
        ConfigError: the model cannot be exported, the weights do not fit, there is no such depth
            or format, or a package is missing. Nothing is written then.
        OutputError: the file cannot be written.
    """
    check_format(format, is_written=True)
    target = target_file(Path(path), format)
    cfg = _config_to_export(cfg, weights, depth)
    # at once: a folder that cannot be written to is noticed before the work
    with atomic_path(target) as temporary, tempfile.TemporaryDirectory() as folder:
        model = build_model(cfg).eval()
        check_model(cfg, model)
        load_to_use(model, cfg)
        graph = (SemanticGraph if is_semantic(cfg) else DetectorGraph)(model).eval()
        written = Path(folder, target.name)
        _write(cfg, graph, format, written, classes)
        _check_same(cfg, graph, Session(written))
        for beside in Path(folder).iterdir():
            if beside != written:
                with atomic_path(target.with_name(beside.name)) as other:
                    shutil.copyfile(beside, other)
        shutil.copyfile(written, temporary)
    return target


def _config_to_export(cfg: CfgNode, weights: str | os.PathLike, depth: int | None) -> CfgNode:
    if not str(weights):
        raise ConfigError("weights are empty: name the checkpoint of a training")
    check_config(cfg)
    check_image_size(cfg)
    if depth is not None:
        cfg = pruned_config(cfg, depth)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = str(weights)
    check_weights(cfg)
    return cfg


def _write(
    cfg: CfgNode,
    graph: DetectorGraph | SemanticGraph,
    format: str,
    path: Path,
    classes: Sequence[str] | None,
) -> None:
    about = {"outputs": graph.outputs, **_about(cfg, graph.model, classes)}
    margin = 3  # a size that is not a multiple: what fills it up is in the trace
    side = max(graph.model.backbone.size_divisibility, 32) + margin
    images = torch.from_numpy(_blobs(2, len(cfg.MODEL.PIXEL_MEAN), side, side + 1))
    example = (images,) if is_semantic(cfg) else (images, torch.tensor(0.0))
    try:
        write(graph, example, format, path, about)
    except OSError:
        raise
    except Exception as error:  # of layers of any library
        raise ConfigError(
            f"{_encoder(cfg)} cannot be exported in the format {format}: {_first_line(error)}; "
            "choose another encoder or format"
        ) from error


def _about(cfg: CfgNode, model: nn.Module, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Metadata of an exported file: what a runtime needs to know, and what it was made from."""
    taken, naming = ModelInput.from_config(cfg), find_naming(cfg, None, classes)
    about = {
        "about_version": ABOUT_VERSION,
        "maskrcnnpp": __version__,
        "task": "semantic" if is_semantic(cfg) else "objects",
        "channels": taken.channels,
        "channels_of_file": list(cfg.INPUT.CHANNELS),
        "channel_order": taken.order,
        "percentiles": list(taken.percentiles),
        "scale": cfg.INPUT.SCALE,
        # these two are done inside the graph
        "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": list(cfg.MODEL.PIXEL_STD),
        "size_divisibility": model.backbone.size_divisibility,
        "class_names": list(naming.category_names),
        "class_ids": list(naming.category_ids),
        "norms_of_image": norms_of_image(model),
        "depth": getattr(model.backbone, "depth", None),
        "config_digest": config_fingerprint(_without_weights(cfg)),
        "weights_sha256": hashlib.sha256(Path(cfg.MODEL.WEIGHTS).read_bytes()).hexdigest(),
    }
    if is_semantic(cfg):
        return {**about, "objects": asdict(ObjectFinder.from_config(cfg))}
    return {
        **about,
        "score_threshold": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
        "nms_threshold": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
        "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
    }


def _without_weights(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = ""
    return cfg


def _check_same(cfg: CfgNode, graph: DetectorGraph | SemanticGraph, session: Session) -> None:
    """Check that a file finds in an image of another size what it does in PyTorch.

    Raises:
        ConfigError: it does not: something in it is bound to the image that it was traced with.
    """
    side = max(graph.model.backbone.size_divisibility, 32)
    images = _blobs(1, len(cfg.MODEL.PIXEL_MEAN), 2 * side - 9, 3 * side)
    inputs = (torch.from_numpy(images), torch.tensor(0.0))[: len(graph.inputs)]
    with torch.no_grad():
        outputs = graph(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    expected = dict(zip(graph.outputs, (x.numpy() for x in outputs)))
    try:
        found = session(images)
    except Exception as error:  # each runtime has its own
        reason = f"on another size of images it ends in an error: {_first_line(error)}"
    else:
        if _are_same(expected, found):
            return
        reason = "on another size of images it gives something else than PyTorch"
    raise ConfigError(
        f"{_encoder(cfg)} cannot be exported, {reason}; choose another encoder or format"
    )


def _are_same(expected: Arrays, found: Arrays) -> bool:
    """Whether outputs agree but for what rounding may decide otherwise, such as ties."""
    if "probabilities" in expected:
        ours, theirs = expected["probabilities"], found["probabilities"]
        return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, atol=_SCORE))
    pairs = (
        (np.abs(expected["scores"][:, None] - found["scores"]) < _SCORE)
        & (expected["classes"][:, None] == found["classes"])
        & (np.abs(expected["boxes"][:, None] - found["boxes"]) < _PIXEL).all(axis=2)
    )
    missed = [int((~pairs.any(axis=axis)).sum()) for axis in (0, 1)]
    return max(missed) <= max(1, (1 - _PART) * len(expected["scores"]))


def _blobs(count: int, channels: int, height: int, width: int) -> np.ndarray:
    """Images with bright discs on dark noise, float32 (count, channels, height, width)."""
    rng = np.random.default_rng(_SEED)
    images = rng.uniform(0, 40, (count, channels, height, width))
    rows, columns = np.ogrid[:height, :width]
    for _ in range(height * width // 1000):
        y, x, radius = rng.uniform((0, 0, 4), (height, width, 12))
        images[..., (rows - y) ** 2 + (columns - x) ** 2 < radius**2] += rng.uniform(60, 180)
    return images.clip(0, 255).astype(np.float32)


def _encoder(cfg: CfgNode) -> str:
    """The key and name of what most likely cannot be traced, in words."""
    if is_semantic(cfg):
        return f"the model with MODEL.NESTED_UNET.ENCODER {cfg.MODEL.NESTED_UNET.ENCODER}"
    name = cfg.MODEL.BACKBONE.NAME
    encoder = f", ENCODER {cfg.MODEL.NESTED_FPN.ENCODER}" if name in NESTED_BACKBONES else ""
    return f"the model with MODEL.BACKBONE.NAME {name}{encoder}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
