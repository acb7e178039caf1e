"""Training."""

from maskrcnnpp.environment import check_torch

check_torch()  # before names are imported that an older PyTorch does not have

from maskrcnnpp.engine.main import run  # noqa: E402
from maskrcnnpp.engine.setup import build_config, setup  # noqa: E402
from maskrcnnpp.engine.trainer import Trainer  # noqa: E402

__all__ = ["Trainer", "build_config", "run", "setup"]
