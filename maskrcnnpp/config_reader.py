"""Reading a config from a yaml file and KEY VALUE overrides."""

from __future__ import annotations

import ast
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from fvcore.common.config import BASE_KEY

from maskrcnnpp.config import add_maskrcnnpp_config
from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.pretrained import PREFIX, timm_weights_file
from maskrcnnpp.models import find_model
from maskrcnnpp.package_files import PREFIX as PACKAGE_PREFIX
from maskrcnnpp.package_files import config_folder, local_path

logger = logging.getLogger(__name__)

# lists of any length, which can be given as one value
_NAMES = ("DATASETS.TRAIN", "DATASETS.TEST")
_NUMBERS = ("SOLVER.STEPS", "INPUT.CHANNELS", "INPUT.MIN_SIZE_TRAIN")

# "SEED -1" in a config or on the command line gives Detectron2's random seeds back
DEFAULT_SEED = 0


def build_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Config of a yaml file and KEY VALUE overrides, frozen.

    Where neither sets them, ``MODEL.DEVICE`` is what the machine has and ``SEED`` is fixed.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown or of the wrong type.
    """
    cfg = default_config()
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.SEED = DEFAULT_SEED
    default = cfg.clone()
    if config_file:
        _merge_file(cfg, config_file)
    late = [word for word in opts[::2] if word.startswith("--")]
    if late:
        raise ConfigError(
            f"on the command line: {late[0]} stands after KEY VALUE pairs; options go before them"
        )
    try:
        cfg.merge_from_list(_as_meant(cfg, opts))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"on the command line: {_message(error)}; overrides are KEY VALUE pairs, "
            "such as SOLVER.BASE_LR 0.01"
        ) from error
    check_elements(cfg, default)
    is_half = cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.PRECISION == "float16"
    if is_half and not cfg.MODEL.DEVICE.startswith("cuda"):
        # the same config is to run on both
        logger.warning("float16 needs CUDA: SOLVER.AMP.ENABLED is set to False")
        cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    return cfg


def _as_meant(cfg: CfgNode, opts: Sequence[str]) -> list[Any]:
    """KEY VALUE pairs; a single value of some lists is a list of it, a whole number a float.

    Detectron2 wants ``"('a.json',)"`` for ``DATASETS.TRAIN a.json``, and 1000.0 for 1000. Lists of
    a fixed length, such as INPUT.CROP.SIZE, are left alone.
    """
    words: list[Any] = list(opts)
    for place in range(1, len(words), 2):
        now: Any = cfg
        for name in words[place - 1].split("."):
            now = now.get(name) if isinstance(now, CfgNode) else None
        key, word = words[place - 1 : place + 1]
        value = word
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(word)
        if key in _NAMES and word and not isinstance(value, (list, tuple)):
            words[place] = type(now)([value if isinstance(value, str) else word])
        elif key in _NUMBERS and type(value) is int:
            words[place] = type(now)([value])
        elif isinstance(now, float) and type(value) is int:
            words[place] = float(value)
    return words


def default_config() -> CfgNode:
    """Detectron2's defaults and this project's."""
    cfg = get_cfg()
    add_maskrcnnpp_config(cfg)
    return cfg


def changed_keys(cfg: CfgNode, default: CfgNode | None = None) -> dict[str, Any]:
    """Keys whose values are not their defaults, nested as in a yaml file; tuples are lists."""
    default = default_config() if default is None else default
    found = {}
    for key, value in cfg.items():
        usual = default.get(key)
        if isinstance(value, CfgNode) and isinstance(usual, CfgNode):
            if inner := changed_keys(value, usual):
                found[key] = inner
        elif _plain(value) != _plain(usual):
            found[key] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


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
        ConfigError: it is not, or ``timm://NAME`` or ``maskrcnnpp://NAME`` cannot be had.
    """
    weights = cfg.MODEL.WEIGHTS
    if weights.startswith(PREFIX):
        timm_weights_file(weights.removeprefix(PREFIX))
    if weights.startswith(PACKAGE_PREFIX):
        find_model(weights)
    if weights and "://" not in weights and not os.path.isfile(weights):
        raise ConfigError(f"MODEL.WEIGHTS is {weights}: there is no such file")


def check_elements(cfg: CfgNode, default: CfgNode, path: str = "") -> None:
    """Check that lists hold what their defaults hold, numbers or names: yacs does not look at it.

    Raises:
        ConfigError: one does not. The message names the key.
    """
    for key, value in cfg.items():
        name, usual = f"{path}{key}", default.get(key)
        if isinstance(value, CfgNode) and isinstance(usual, CfgNode):
            check_elements(value, usual, f"{name}.")
        elif isinstance(value, (list, tuple)) and isinstance(usual, (list, tuple)):
            kinds = {_kind(leaf) for leaf in _leaves(usual)}
            if len(kinds) == 1 and not {_kind(leaf) for leaf in _leaves(value)} <= kinds:
                raise ConfigError(f"{name} is {value}; it holds {kinds.pop()}, such as {usual}")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield value


def _kind(leaf: Any) -> str:
    return "numbers" if isinstance(leaf, (int, float)) else "names"


class _File(CfgNode):
    """Reads files whose ``_BASE_`` may be a config of this project, ``maskrcnnpp://NAME``."""

    @classmethod
    def _open_cfg(cls, filename: str) -> Any:
        # fvcore takes the name as relative to the file that names it
        start = filename.find(PACKAGE_PREFIX)
        return super()._open_cfg(local_path(filename[start:]) if start >= 0 else filename)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines and name != "<<":
                raise ConfigError(f"{name} stands twice, in lines {lines[name]} and {line}")
            lines[name] = line
        return super().construct_mapping(node, deep)


def _check_file(config_file: str) -> None:
    """Check that a file and those that it is based on are of this machine, and name no key twice.

    Raises:
        ConfigError: one is not. The message names the file.
    """
    config_file = local_path(config_file)
    if "://" in config_file:
        raise ConfigError(
            f"{config_file} is not a file of this machine, and configs are not fetched: save it, "
            "and name the file as the config or as its _BASE_"
        )
    with open(config_file, encoding="utf-8") as file:
        try:
            content = yaml.load(file, _UniqueKeys)
        except ConfigError as error:
            raise ConfigError(f"in {config_file}: {error}") from error
    bases = content.get(BASE_KEY, []) if isinstance(content, dict) else []
    for base in [bases] if isinstance(bases, str) else bases:
        is_address = "://" in base
        folder = os.path.dirname(config_file)
        _check_file(base if is_address else os.path.join(folder, os.path.expanduser(base)))


def _merge_file(cfg: CfgNode, config_file: str) -> None:
    try:
        config_file = local_path(config_file)
        _check_file(config_file)
        loaded = CfgNode(_File.load_yaml_with_base(config_file))
        if loaded.get("VERSION", cfg.VERSION) == cfg.VERSION:
            cfg.merge_from_other_cfg(loaded)
        else:  # which Detectron2 brings up to date
            cfg.merge_from_file(config_file, allow_unsafe=False)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(
            f"cannot read the config {error.filename or config_file}: {error.strerror or error}; "
            f"those of this project are in {config_folder()}"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"in {config_file}: _BASE_ leads back to the file itself") from error
    except (AttributeError, TypeError) as error:
        raise ConfigError(f"in {config_file}: not a mapping of keys to values") from error
    except (AssertionError, KeyError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"in {config_file}: {_message(error)}") from error


def _message(error: Exception) -> str:
    if isinstance(error, yaml.YAMLError):
        return " ".join(str(error).split())
    if isinstance(error, UnicodeDecodeError):
        return "it is no text, and so no config"
    # a KeyError's own text is the repr of its message
    return str(error.args[0]) if error.args else str(error)
