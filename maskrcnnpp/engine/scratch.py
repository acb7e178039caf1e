"""A place for what a training writes that is only tried out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode


@contextmanager
def scratch_output(cfg: CfgNode) -> Iterator[CfgNode]:
    """The config with a temporary OUTPUT_DIR, beside its own and on the same disk."""
    output = Path(cfg.OUTPUT_DIR)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f"{output.name}-try-") as folder:
        tried = cfg.clone()
        tried.defrost()
        tried.OUTPUT_DIR = folder
        tried.freeze()
        yield tried
