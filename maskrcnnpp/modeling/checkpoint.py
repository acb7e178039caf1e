"""Checkpoints of Detectron2, read and loaded with errors for the reader."""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from torch import nn

from maskrcnnpp.errors import ConfigError, OutputError
from maskrcnnpp.files import atomic_path, write_text
from maskrcnnpp.modeling.depths import check_grid_weights
from maskrcnnpp.modeling.pretrained import name_for_encoder
from maskrcnnpp.modeling.weights_file import read_pickle, read_torch

logger = logging.getLogger(__name__)

_LAST = "last_checkpoint"
_TRAINED = "trained"
_OF_TRAINING = re.compile(r"model_(\d{7}|final)\.pth")
# what files end in that hold something else than a checkpoint
_UNLOADABLE = (
    *(AttributeError, EOFError, LookupError, OSError, pickle.UnpicklingError),
    *(RuntimeError, TypeError, ValueError),
)
# of a model that was saved inside DistributedDataParallel
_WRAPPED = "module."
# Detectron2's name, and that of Caffe2 in which it publishes ImageNet weights
_FIRST_CONVOLUTIONS = (".stem.conv1.weight", ".conv1_w")


class Checkpointer(DetectionCheckpointer):
    """Detectron2's, whose files appear whole or not at all, and are read without running code.

    Detectron2's leaves weights that are missing or of another shape at random, and only logs it.
    Here ``unfilled`` has the names of these after a file was loaded, a training is only resumed
    with all of its weights, and weights of another nested pyramid are refused.

    With averaged weights, these are the model of a file: what it is used for. Those that are
    trained lie beside them, for a restart.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        adapts_channels: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            model, save_dir, kwargs: of Detectron2's ``DetectionCheckpointer``.
            adapts_channels: make the first convolution of a model with another number of channels
                of that for red, green and blue: a beginning for a training.
        """
        super().__init__(model, save_dir, **kwargs)
        self._adapts_channels = adapts_channels
        #: With averaged weights; None where there are none.
        self.averaged: nn.Module | None = None
        self.unfilled: Sequence[str] = ()
        self._is_resuming = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Detectron2's, atomic; ``last_checkpoint`` names the file from then on.

        Raises:
            OutputError: it cannot be written; what was there before stays.
        """
        if self.save_dir and self.save_to_disk:
            self.save_aside(name, **kwargs)
            self.tag_last_checkpoint(f"{name}.pth")

    def save_aside(self, name: str, **kwargs: Any) -> None:
        """:meth:`save` of a file that a restart does not begin with."""
        state = {key: item.state_dict() for key, item in self.checkpointables.items()}
        if self.averaged is not None:
            state[_TRAINED] = self.model.state_dict()
        self.save_weights(name, **state, **kwargs)

    def save_weights(self, name: str, **kwargs: Any) -> None:
        """Save the model and ``kwargs``, with nothing that only a restart needs."""
        if not self.save_dir or not self.save_to_disk:
            return
        model = self.model if self.averaged is None else self.averaged
        path = Path(self.save_dir, f"{name}.pth")
        try:
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                torch.save({"model": model.state_dict(), **kwargs}, file)
        except OutputError:
            raise
        # PyTorch has errors of its own for a full disk
        except (OSError, RuntimeError) as error:
            raise OutputError(f"{path} cannot be written: {_first_line(error)}") from error
        logger.info("saved %s", path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_text(Path(self.save_dir, _LAST), last_filename_basename)

    def has_checkpoint(self) -> bool:
        return bool(self._candidates())

    def get_checkpoint_file(self) -> str:
        """The last checkpoint of ``save_dir`` that can be read.

        Raises:
            ConfigError: there are some, but none can be read.
        """
        errors = []
        for path in self._candidates():
            try:
                found = read_torch(path, mmap=True)
                if not (isinstance(found, dict) and "model" in found):
                    raise ConfigError(f"{path} is not a checkpoint of a training: it has no model")
                if self.checkpointables and not found.keys() & self.checkpointables:
                    raise ConfigError(
                        f"{path} has weights alone, and a training cannot go on from these: "
                        "without --resume, MODEL.WEIGHTS begins a new one with them"
                    )
            except ConfigError as error:
                errors.append(str(error))
                logger.warning("%s; the one before is taken", error)
            else:
                return os.fspath(path)
        if errors:
            raise ConfigError("; ".join(errors))
        return ""

    def _candidates(self) -> list[Path]:
        """Files of this training: the one that was saved last, then the others from late on."""
        folder = Path(self.save_dir)
        try:
            last = (folder / _LAST).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):  # not there, or damaged
            last = ""
        files = [
            path
            for path in folder.glob("*.pth")
            if path.name == last or _OF_TRAINING.fullmatch(path.name)
        ]
        return sorted(files, key=lambda path: (path.name != last, -_iteration_of(path)))

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        self._is_resuming = resume and self.has_checkpoint()
        try:
            return super().resume_or_load(path, resume=resume)
        finally:
            self._is_resuming = False

    # there are no public places between reading a file and filling the model

    def _load_file(self, filename: str) -> dict[str, Any]:
        if not filename.endswith(".pkl"):
            return super()._load_file(filename)
        with open(filename, "rb") as file:
            data = read_pickle(file)
        named = data.get("model", data.get("blobs", data)) if isinstance(data, dict) else None
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named):
            raise pickle.UnpicklingError("it holds no weights by name")
        if "model" in data and "__author__" in data:  # of Detectron2's model zoo
            return data
        # of Caffe2: weights by its names, with optimizer states
        weights = {k: x for k, x in data.get("blobs", data).items() if not k.endswith("_momentum")}
        return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}

    def _torch_load(self, f: str) -> Any:
        return read_torch(f)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if self._is_resuming and _TRAINED in checkpoint:
            if self.averaged is not None:
                self.averaged.load_state_dict(checkpoint["model"])
            checkpoint["model"] = checkpoint.pop(_TRAINED)
        checkpoint.pop(_TRAINED, None)
        checkpoint["model"] = name_for_encoder(checkpoint["model"], self.model)
        check_grid_weights(_unwrapped(checkpoint["model"]), self.model.state_dict())
        if self._adapts_channels:
            _adapt_first_convolution(checkpoint["model"], self.model.state_dict())
        incompatible = super()._load_model(checkpoint)
        misshapen = [name for name, *_ in incompatible.incorrect_shapes]
        self.unfilled = [*misshapen, *incompatible.missing_keys]
        if self._is_resuming:
            _check_all_fit(incompatible)
        else:
            _tell_what_fits(self.model, incompatible, self.unfilled)
        return incompatible


def holds_training(folder: str | os.PathLike) -> bool:
    """Whether a training has saved a checkpoint in a folder."""
    return any(_OF_TRAINING.fullmatch(path.name) for path in Path(folder).glob("*.pth"))


def _iteration_of(path: Path) -> int:
    """Iteration of a checkpoint; -1 where it cannot be read."""
    number = path.stem.rpartition("_")[2]
    if number.isdecimal():
        return int(number)
    try:
        return int(read_torch(path, mmap=True)["iteration"])
    except (ConfigError, KeyError, TypeError, ValueError):
        return -1


def _check_all_fit(found: Any) -> None:
    """Check that a checkpoint fits the model exactly, so that its training can be resumed.

    Raises:
        ConfigError: the checkpoint is of another model.
    """
    for name, theirs, ours in found.incorrect_shapes:
        raise ConfigError(
            f"it is of another model: {name} is {tuple(theirs)} there and {tuple(ours)} in the "
            f"model of the config{_cause(name)}"
        )
    for names, where in (
        (found.missing_keys, "is not there"),
        (found.unexpected_keys, "is there only"),
    ):
        if names:
            raise ConfigError(f"it is of another model: {sorted(names)[0]} {where}")


def _cause(name: str) -> str:
    is_of_classes = "box_predictor" in name or name.startswith("roi_heads.mask_head.predictor")
    return ": look at MODEL.ROI_HEADS.NUM_CLASSES" if is_of_classes else ""


def _tell_what_fits(model: nn.Module, found: Any, unfilled: Sequence[str]) -> None:
    """Say how much of a file was taken, and what was not.

    Raises:
        ConfigError: nothing.
    """
    names = {name for name, _ in model.named_parameters()}
    random = [name for name in unfilled if name in names]
    if names and len(random) == len(names):
        raise ConfigError("none of its weights is of this model: is it another architecture?")
    logger.info("loaded %d of %d weights", len(names) - len(random), len(names))
    for name, theirs, ours in found.incorrect_shapes:
        shapes = f"{tuple(theirs)} in the file, {tuple(ours)} in the model"
        logger.warning("begins at random: %s is %s%s", name, shapes, _cause(name))
    if found.missing_keys:
        logger.warning("begin at random, not in the file: %s", _shown(found.missing_keys))
    if found.unexpected_keys:
        logger.info("left in the file, not in the model: %s", _shown(found.unexpected_keys))


def _shown(names: Sequence[str]) -> str:
    """Names of weights by their modules, shortened."""
    modules = sorted({name.rpartition(".")[0] or name for name in names})
    more = f" and {len(modules) - 8} more" if len(modules) > 8 else ""
    return ", ".join(modules[:8]) + more


def _adapt_first_convolution(weights: dict[str, Any], model: Mapping[str, torch.Tensor]) -> None:
    """Weights for three channels as those for as many as the model takes, in place.

    Each is their mean, scaled so that a grey image gives the same response.
    """
    stems = [tensor for name, tensor in model.items() if name.endswith(_FIRST_CONVOLUTIONS[0])]
    for name, weight in weights.items():
        if f".{name}".endswith(_FIRST_CONVOLUTIONS) and len(stems) == 1:
            wanted = tuple(stems[0].shape)
        elif name in model:  # of another encoder: no other convolution has three channels
            wanted = tuple(model[name].shape)
        else:
            continue
        found = tuple(weight.shape)
        if (
            len(found) == len(wanted) == 4
            and found[1] == 3 != wanted[1]
            and (found[:1] + found[2:] == wanted[:1] + wanted[2:])
        ):
            mean = torch.as_tensor(weight).mean(dim=1, keepdim=True)
            weights[name] = mean.repeat(1, wanted[1], 1, 1) * (3 / wanted[1])
            logger.info("%s of 3 channels is adapted to %d by its mean", name, wanted[1])


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint of Detectron2 or a plain state dict, on the CPU. No code in it is run.

    Returns:
        With the state dict under "model".

    Raises:
        ConfigError: it is missing, or no checkpoint.
    """
    checkpoint = read_torch(path)
    if isinstance(checkpoint, dict) and "model" not in checkpoint:
        checkpoint = {"model": checkpoint}
    weights = checkpoint["model"] if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(hasattr(x, "shape") for x in weights.values()):
        raise ConfigError(f"{path} is not a checkpoint of a training: it holds no weights by name")
    return {**checkpoint, "model": _unwrapped(weights)}


def load_weights(load: Callable[..., Any], cfg: CfgNode, *, resume: bool) -> None:
    """Call ``load(resume=resume)``, and say which file it was when that cannot be loaded.

    Args:
        load: such as ``DefaultTrainer.resume_or_load``; loads ``MODEL.WEIGHTS`` or, with
            ``resume``, the last checkpoint of OUTPUT_DIR.

    Raises:
        ConfigError: the weights are no checkpoint, or of another nested pyramid.
    """
    try:
        load(resume=resume)
    except _UNLOADABLE as error:
        reason = _first_line(error)
        which = f"the last checkpoint in {cfg.OUTPUT_DIR}, or " if resume else ""
        raise ConfigError(
            f"{which}MODEL.WEIGHTS ({cfg.MODEL.WEIGHTS}) cannot be loaded: {reason}"
        ) from error


def load_to_use(
    model: nn.Module, cfg: CfgNode, *, save_dir: str = "", resume: bool = False
) -> None:
    """Fill a model that is to be used and not trained with ``MODEL.WEIGHTS``.

    Args:
        model: not wrapped.
        save_dir: folder of a training, whose last checkpoint is taken with ``resume``.

    Raises:
        ConfigError: see :func:`load_weights`; or weights would be random.
    """
    checkpointer = Checkpointer(model, save_dir)
    load_weights(partial(checkpointer.resume_or_load, cfg.MODEL.WEIGHTS), cfg, resume=resume)
    if unfilled := checkpointer.unfilled:
        more = f" and {len(unfilled) - 1} more" if len(unfilled) > 1 else ""
        raise ConfigError(
            f"{cfg.MODEL.WEIGHTS} does not fill the model of the config: {unfilled[0]}{more} would "
            f"be random{_cause(unfilled[0])}; give the config.yaml of its training"
        )


def _unwrapped(weights: Mapping[str, Any]) -> dict[str, Any]:
    if weights and all(name.startswith(_WRAPPED) for name in weights):
        return {name.removeprefix(_WRAPPED): x for name, x in weights.items()}
    return dict(weights)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
