"""Makes Detectron2 read ``maskrcnnpp://NAME``: weights of a model, or a config of this project."""

from __future__ import annotations

import os
from typing import Any

from detectron2.utils.file_io import PathHandler, PathManager

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.models import find_model
from maskrcnnpp.package_files import PREFIX, local_path


class _Handler(PathHandler):
    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        if path.endswith(".yaml"):
            return local_path(path)
        weights = find_model(path).weights_file
        if weights is None:
            raise ConfigError(f"{path} is an exported model, which has no weights to begin with")
        return os.fspath(weights)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return True  # whether it is there is said, with the names that are, when it is read

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return True

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return open(self._get_local_path(path), mode, buffering=buffering)


PathManager.register_handler(_Handler())
