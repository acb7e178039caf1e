"""Mask R-CNN++ for Detectron2.

Importing the package registers its backbones and heads with Detectron2. Where Detectron2 is not
imported yet, the first use of a name below does so: the command line answers at once.
"""

import sys
from typing import TYPE_CHECKING, Any

from maskrcnnpp.version import __version__

if TYPE_CHECKING:
    from maskrcnnpp.config import add_maskrcnnpp_config
    from maskrcnnpp.inference.predictor import Predictor
    from maskrcnnpp.inference.semantic_predictor import SemanticPredictor

__all__ = ["Predictor", "SemanticPredictor", "__version__", "add_maskrcnnpp_config"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from maskrcnnpp import registration

    return getattr(registration, name)


if "detectron2" in sys.modules:
    from maskrcnnpp import registration as _registration  # noqa: F401
