"""Registers the backbones and heads with Detectron2, and says what is missing where it cannot."""

import warnings

try:
    import detectron2 as _detectron2  # noqa: F401
except ImportError as error:
    raise ImportError(
        "maskrcnnpp needs PyTorch, torchvision and Detectron2, which it does not install by "
        "itself: 'pip install torch torchvision', then 'maskrcnnpp install-detectron2', or "
        "Detectron2's own source: https://detectron2.readthedocs.io/tutorials/install.html"
    ) from error

try:
    import cv2 as _cv2  # noqa: F401
except ImportError as error:
    # pip knows no "either": requiring one of them would break an installed other one
    raise ImportError(
        "maskrcnnpp needs OpenCV, of which you choose the package: 'pip install "
        "opencv-python-headless', or opencv-python for one that opens windows; never both"
    ) from error

with warnings.catch_warnings():
    # of Detectron2's and fvcore's own code, at every start of every command
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    from maskrcnnpp import modeling as _modeling  # noqa: F401  # only registration
    from maskrcnnpp.config import add_maskrcnnpp_config
    from maskrcnnpp.inference.predictor import Predictor
    from maskrcnnpp.inference.semantic_predictor import SemanticPredictor
    from maskrcnnpp.models import handler as _handler  # noqa: F401  # maskrcnnpp://

__all__ = ["Predictor", "SemanticPredictor", "add_maskrcnnpp_config"]
