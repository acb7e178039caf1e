"""A trained model as predictors see it, whatever runs it: PyTorch, or the runtime of a file."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from types import MappingProxyType
from typing import Any

import numpy as np

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.images.intensity import ModelInput
from maskrcnnpp.inference.naming import Naming
from maskrcnnpp.inference.options import Options
from maskrcnnpp.models import Model, find_model

#: By name; "auto" is the faster on this machine: see :func:`find_trained`.
BACKENDS = ("auto", "torch", "onnx", "openvino")
#: Packages of the backends but for PyTorch.
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
_NEEDED_BY_TORCH = ("torch", "torchvision", "detectron2")
#: Of NVIDIA and AMD under Linux, and under Linux within Windows.
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True)
class Found:
    """Objects that a model found in an image, by falling score."""

    height: int  #: of the image as the model saw it, pixels
    width: int
    boxes: np.ndarray  #: x0, y0, x1, y1 in its pixels, float32 (N, 4)
    scores: np.ndarray  #: 0..1, float32 (N,)
    categories: np.ndarray  #: the model's 0..n-1, int64 (N,)
    masks: np.ndarray  #: probabilities inside the box, float32 (N, M, M)
    #: those that the model's limit of objects goes by, where ``scores`` are of masks
    box_scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def from_score(self, threshold: float) -> Found:
        """The objects of at least this score."""
        kept = self.scores >= np.float32(threshold)
        rows = ("boxes", "scores", "categories", "masks", "box_scores")
        values = {name: getattr(self, name) for name in rows}
        return replace(self, **{k: x[kept] for k, x in values.items() if x is not None})

    def count(self, threshold: float) -> int:
        """Number of objects that reached a score before their masks were looked at."""
        scores = self.scores if self.box_scores is None else self.box_scores
        return int((scores >= np.float32(threshold)).sum())


class Backend(ABC):
    """A model that is loaded. Images are float32 (channels, H, W), 0..255.

    Attributes:
        model: what runs: a module of PyTorch, or a session.
        looks_twice: whether the model itself looks at flips and several scales.
    """

    model: Any
    looks_twice = False

    @abstractmethod
    def norms_of_image(self) -> list[str]:
        """Names of the model's normalizations by which a tile is taken for a whole image."""

    @abstractmethod
    def objects(self, images: Sequence[np.ndarray], score_threshold: float) -> list[Found]:
        """Objects that the model finds in each image, from this score on."""

    @abstractmethod
    def probabilities(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Probabilities by a semantic model for each image: float32 (classes, H, W), 0..1."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model before it is loaded: its properties, and how to load it.

    Attributes:
        backend: that runs it, such as "torch" or "onnx".
        is_semantic: whether it gives probabilities of pixels, and not objects.
        model_input: what it takes.
        channels: of an image file (INPUT.CHANNELS); empty: all.
        scale: factor by which images were resized in its training (INPUT.SCALE).
        detection_limit: objects of an image at which it stops.
        find_objects: of a semantic model, the fields of ``ObjectFinder``.
        load: makes it ready to run with some options. Raises ConfigError where it cannot.
        naming: of the classes, and the ids of a COCO file if one is given.
        settings: what decides the outputs, for the record of a run.
        options: fields of :class:`Options` that it was tuned to.
        diameter: median of the objects of its training, pixels.
        title: of a model by name.
    """

    backend: str
    is_semantic: bool
    model_input: ModelInput
    channels: Sequence[int]
    scale: float
    detection_limit: int | None
    find_objects: Mapping[str, Any] | None
    load: Callable[[Options], Backend]
    naming: Callable[[str | os.PathLike | None], Naming]
    settings: Callable[[], dict[str, Any]]
    options: Mapping[str, Any] | None = None
    diameter: float | None = None
    title: str | None = None

    def tuned(self, given: Mapping[str, Any]) -> Options:
        """Options, with those of the training and those that it was tuned to where none are given.

        Scales are relative to the training's, not to :attr:`scale`.

        Raises:
            ConfigError: one is impossible.
        """
        options = {**(self.options or {}), **given}
        if self.model_input.percentiles:
            options.setdefault("percentiles", self.model_input.percentiles)
        return Options(**options)


def find_trained(
    name: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    *,
    backend: str = "auto",
    opts: Sequence[str] = (),
    depth: int | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    torch_first: bool | None = None,
) -> Trained:
    """A trained model, or that of a training.

    Args:
        name: of a model (:func:`maskrcnnpp.models.find_model`), or ``config.yaml`` of a training's
            OUTPUT_DIR.
        weights: of a training: a checkpoint, such as ``model_final.pth``.
        backend: one of :data:`BACKENDS`. "auto" is PyTorch for a training, on a GPU and where
            ``opts``, ``depth`` or ``options`` need it, and else the exported file, which is
            faster on a CPU.
        opts: KEY VALUE overrides of the config.
        depth: of the grid; None: the config's.
        options: fields of :class:`Options` that it is to run with.
        torch_first: whether PyTorch runs what both can; None: where it may have a GPU.

    Raises:
        UserError: there is no such model, it cannot be run by the backend, or a package is missing.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"the backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    model = find_model(os.fspath(name)) if weights is None else None
    changed = [*opts[:1], *(["depth"] if depth is not None else [])]
    if backend == "auto":
        tuned = Options(**{**(model.options if model else {}), **options})
        if _torch_is_better(model, bool(changed) or tuned.needs_torch, torch_first):
            backend = "torch"
    if _is_of_torch(model, backend, changed):
        from maskrcnnpp import registration  # noqa: F401  # first: it says what is missing
        from maskrcnnpp.inference.torch_model import trained_of_config

        if model is None:
            assert weights is not None
            return trained_of_config(name, weights, opts, depth)
        assert model.config_file and model.weights_file
        classes = model.card.get("classes")
        files = (model.config_file, model.weights_file)
        trained = trained_of_config(*files, opts, depth, classes)
    else:
        from maskrcnnpp.inference.exported_model import trained_of_file

        assert model is not None and model.exported_file
        runtime = None if backend == "auto" else backend
        trained = trained_of_file(model.exported_file, runtime, model.card.get("classes"))
    return replace(
        trained, options=model.options, diameter=model.card.get("diameter"), title=model.title
    )


def _torch_is_better(model: Model | None, needed: bool, torch_first: bool | None) -> bool:
    """Whether PyTorch can run a model, and its exported file cannot or is slower."""
    if (model is not None and model.config_file is None) or not _installed(*_NEEDED_BY_TORCH):
        return False
    if needed or model is None or model.exported_file is None:
        return True
    if not _installed(RUNTIMES["onnx"]):
        return True
    return _has_gpu() if torch_first is None else torch_first


def _is_of_torch(model: Model | None, backend: str, changed: Sequence[str]) -> bool:
    """Whether PyTorch is to run a model; None is that of a training.

    Args:
        changed: what is to be another than in its config.

    Raises:
        ConfigError: the model or the overrides do not go with the backend.
    """
    if backend == "torch":
        if model is not None and model.config_file is None:
            raise ConfigError(
                f"{model.exported_file} is an exported model, which has no config and weights for "
                "the backend torch: choose another backend, or the model that it was made from"
            )
        return True
    if model is None:
        if backend == "auto":
            return True  # which says what is missing
        raise ConfigError(
            f"the backend {backend} runs models by name and exported files (--model), not a config "
            "and a checkpoint: make a file of these with `maskrcnnpp export-model`"
        )
    if model.exported_file is None:
        if backend == "auto":
            return True
        raise ConfigError(
            f"{model.title} has no exported file, which the backend {backend} needs: pack it again "
            "with `maskrcnnpp models pack`, or choose the backend torch"
        )
    if changed:
        raise ConfigError(
            f"{changed[0]} is of the config, and fixed in an exported model: choose the backend "
            "torch, which needs pip install 'maskrcnnpp[train]'"
        )
    return False


def _installed(*packages: str) -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in packages)
    except (ImportError, ValueError):
        return False


def _has_gpu() -> bool:
    """Whether PyTorch may have a GPU here. It is asked only if it is loaded: that takes seconds."""
    if torch := sys.modules.get("torch"):
        return torch.cuda.is_available()
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    with contextlib.suppress(metadata.PackageNotFoundError):
        if metadata.version("torch").endswith("+cpu"):
            return False
    return any(map(os.path.exists, _DRIVERS)) or shutil.which("nvidia-smi") is not None
