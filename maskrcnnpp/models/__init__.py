"""Trained models by name, file or address, each with a card that says what it is for.

A model is a folder, or a zip archive of one, with ``card.yaml``, ``config.yaml`` and
``weights.safetensors``, and mostly the same as ``model.onnx``, which runs without PyTorch;
:mod:`maskrcnnpp.exporting.pack` writes it. Those in this folder come with the package. An exported
model (:mod:`maskrcnnpp.exporting`) is one as it is, without a card.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.files import write_bytes
from maskrcnnpp.package_files import PREFIX

DEFAULT = "nuclei"
#: Names that shipped models had, and the models that took their place.
FORMER = {"nuclei-fast": "nuclei"}
CARD_FILE, CONFIG_FILE, WEIGHTS_FILE = "card.yaml", "config.yaml", "weights.safetensors"
_FILES = (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE)
EXPORTED_FILE = "model.onnx"
#: Entry of a card with the hash of :data:`EXPORTED_FILE`, where there is one.
EXPORTED_KEY = "sha256 of model.onnx"
_EXPORTED = (".onnx", ".ts", ".xml")
#: Entries that every card has.
CARD_KEYS = ("name", "version", "purpose", "data", "licence", "metrics", "limits", "sha256")
_SHIPPED = Path(__file__).parent
_ADDRESS = re.compile(r"(https?|file)://")


@dataclass(frozen=True)
class Model:
    """A trained model."""

    folder: Path
    card: Mapping[str, Any]
    config_file: Path | None  #: None of one that is an exported file alone, as weights_file
    weights_file: Path | None
    exported_file: Path | None

    @property
    def title(self) -> str:
        """Such as ``nuclei 1.0``."""
        return f"{self.card['name']} {self.card['version']}".rstrip()

    @property
    def options(self) -> dict[str, Any]:
        """Fields of :class:`maskrcnnpp.inference.options.Options` that were tuned for it."""
        return dict(self.card.get("options") or {})


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{CARD_FILE}"))


def find_model(name: str) -> Model:
    """A model by its name, with or without ``maskrcnnpp://``, its folder, zip archive, exported
    file or address.

    Args:
        name: an address (``https://...``) ends in ``#sha256:`` and the hash of the archive. It is
            fetched once, and kept in the cache of this user.

    Raises:
        ConfigError: there is no such model, a file is missing or damaged, or a hash differs.
    """
    name = name.removeprefix(PREFIX)
    name = FORMER.get(name, name)
    if name in shipped():
        return _read(_SHIPPED / name)
    if _ADDRESS.match(name):
        return _read(_unpacked(_fetched(name)))
    path = Path(name)
    if path.is_dir():
        return _read(path)
    if path.is_file() and path.suffix in _EXPORTED:
        card = {"name": path.name, "version": "", "purpose": "an exported model without a card"}
        return Model(path.parent, card, None, None, path)
    if path.is_file() and zipfile.is_zipfile(path):
        return _read(_unpacked(path))
    near = difflib.get_close_matches(name, shipped(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(
        f"there is no model {name!r}; {hint}choose one of {', '.join(shipped()) or 'none'}, or "
        "give the folder, zip archive, exported file (.onnx) or address of a model "
        "(https://...#sha256:...)"
    )


def _read(folder: Path) -> Model:
    lacking = [file for file in _FILES if not (folder / file).is_file()]
    if lacking:
        raise ConfigError(
            f"{folder} is not a model: {', '.join(lacking)} is missing. For a training give "
            "its config.yaml and model_final.pth (--config-file and --weights)"
        )
    try:
        card = yaml.safe_load((folder / CARD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{folder / CARD_FILE} cannot be read: {error}") from error
    absent = [key for key in CARD_KEYS if key not in card] if isinstance(card, dict) else CARD_KEYS
    if absent:
        raise ConfigError(f"{folder / CARD_FILE} is not the card of a model: it lacks {absent[0]}")
    _check_hash(folder / WEIGHTS_FILE, card["sha256"])
    exported = folder / EXPORTED_FILE if EXPORTED_KEY in card else None
    if exported:
        _check_hash(exported, card[EXPORTED_KEY])
    return Model(folder, card, folder / CONFIG_FILE, folder / WEIGHTS_FILE, exported)


def _check_hash(path: Path, known: Any) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}; install or fetch it again") from error
    if found != known:
        raise ConfigError(
            f"{path} is damaged or was replaced: its SHA-256 is {found[:12]}..., and the card says "
            f"{str(known)[:12]}...; install or fetch it again"
        )


def _fetched(address: str) -> Path:
    import pooch  # which other models do without

    url, _, known = address.partition("#")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", known):
        raise ConfigError(
            f"{address}: add the hash of the archive, #sha256:..., so that it is known what is run"
        )
    try:
        return Path(pooch.retrieve(url, known_hash=known, path=pooch.os_cache("maskrcnnpp")))
    except ValueError as error:  # the hash differs
        raise ConfigError(f"{url} is not what its hash says: {error}") from error
    except Exception as error:  # of the network, in the words of several libraries
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{url} cannot be fetched: {reason}") from error


def _unpacked(archive: Path) -> Path:
    """Folder of the cache with the files of an archive."""
    import pooch

    content = archive.read_bytes()
    folder = Path(pooch.os_cache("maskrcnnpp"), hashlib.sha256(content).hexdigest()[:16])
    try:
        with zipfile.ZipFile(archive) as file:
            members = {Path(name).name: name for name in file.namelist()}
            lacking = [name for name in _FILES if name not in members]
            if lacking:
                raise ConfigError(f"{archive} is not a model: {', '.join(lacking)} is missing")
            for name in (*_FILES, *({EXPORTED_FILE} & set(members))):
                write_bytes(folder / name, file.read(members[name]))
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{archive} cannot be unpacked: {error}") from error
    return folder


def card_text(model: Model) -> str:
    """The card for reading, a line or list for each entry."""
    lines = [f"{model.title}: {model.card['purpose']}"]
    for key, value in model.card.items():
        if key in ("name", "version", "purpose"):
            continue
        if isinstance(value, Mapping):
            lines += [f"  {key}:", *(f"    {k}: {v}" for k, v in value.items())]
        elif isinstance(value, list):
            lines += [f"  {key}:", *(f"    - {entry}" for entry in value)]
        else:
            lines.append(f"  {key}: {value}")
    return "\n".join(lines)
