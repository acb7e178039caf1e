"""How it trains."""

from maskrcnnpp.engine.main import run
from maskrcnnpp.engine.setup import build_config, setup
from maskrcnnpp.engine.trainer import Trainer

__all__ = ["Trainer", "build_config", "run", "setup"]
