"""Config files of this project by ``maskrcnnpp://NAME``, in a checkout and in a wheel alike."""

from __future__ import annotations

import difflib
from pathlib import Path

from maskrcnnpp.errors import ConfigError

PREFIX = "maskrcnnpp://"
#: The config that users without a wish of their own are led to.
FIRST_CHOICE = PREFIX + "cpu/maskrcnnpp_lite0_fast.yaml"
_PACKAGE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """Folder of the config files: in the package of a wheel, beside the package of a checkout."""
    packed = _PACKAGE / "configs"
    return packed if packed.is_dir() else _PACKAGE.parent / "configs"


def local_path(path: str) -> str:
    """Path of a config on this machine; what does not begin with :data:`PREFIX` stays as it is.

    Raises:
        ConfigError: this project has no such config.
    """
    if not path.startswith(PREFIX):
        return path
    folder = config_folder()
    found = folder / path.removeprefix(PREFIX)
    if found.is_file() and found.resolve().is_relative_to(folder.resolve()):
        return str(found)
    known = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.yaml"))
    near = difflib.get_close_matches(path.removeprefix(PREFIX), known, n=3, cutoff=0.8)
    which = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
    raise ConfigError(f"{path}: there is no such config; {which}")
