"""Registers the backbones and heads with Detectron2, and says what is missing where it cannot."""

import warnings

from maskrcnnpp.errors import MissingPackage, first_line

try:
    import detectron2 as _detectron2  # noqa: F401
except ImportError as error:
    raise MissingPackage(
        f"this needs PyTorch, torchvision and Detectron2 ({first_line(error)}): pip install "
        "'maskrcnnpp[train]', then 'maskrcnnpp install-detectron2', or Detectron2's own source: "
        "https://detectron2.readthedocs.io/tutorials/install.html"
    ) from error

with warnings.catch_warnings():
    # of Detectron2's and fvcore's own code, at every start of every command
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    from maskrcnnpp import modeling as _modeling  # noqa: F401  # only registration
    from maskrcnnpp.config import add_maskrcnnpp_config
    from maskrcnnpp.models import handler as _handler  # noqa: F401  # maskrcnnpp://

__all__ = ["add_maskrcnnpp_config"]
