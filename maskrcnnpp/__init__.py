"""Mask R-CNN++ for Detectron2.

Importing the package registers its backbones and heads with Detectron2. Where Detectron2 is not
imported yet, ``add_maskrcnnpp_config``, or loading a model that PyTorch runs, does so: the command
line answers at once, and exported models run without PyTorch.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from maskrcnnpp.version import __version__

if TYPE_CHECKING:
    from maskrcnnpp.config import add_maskrcnnpp_config
    from maskrcnnpp.inference.predictor import Predictor
    from maskrcnnpp.inference.semantic_predictor import SemanticPredictor

__all__ = ["Predictor", "SemanticPredictor", "__version__", "add_maskrcnnpp_config"]
_HOMES = {
    "Predictor": "maskrcnnpp.inference.predictor",
    "SemanticPredictor": "maskrcnnpp.inference.semantic_predictor",
    "add_maskrcnnpp_config": "maskrcnnpp.registration",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


if "detectron2" in sys.modules:
    from maskrcnnpp import registration as _registration  # noqa: F401
