"""Terminal output of a training. log.txt has everything."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from detectron2.utils.logger import setup_logger

# whose INFO is of use to who watches a training; warnings and errors are always shown
_SHOWN = ("maskrcnnpp", "detectron2.evaluation.evaluator", "detectron2.data.datasets")
_PACKAGES = ("detectron2", "fvcore")


def set_up_loggers(output_dir: str, rank: int) -> None:
    """Loggers of Detectron2, fvcore and this project: log.txt gets all, the terminal what counts.

    ``default_setup`` finds the loggers as they are here: Detectron2 sets one up once.
    """
    setup_logger(output_dir, distributed_rank=rank, name="fvcore")
    setup_logger(output_dir, distributed_rank=rank)
    setup_logger(output_dir, distributed_rank=rank, name="maskrcnnpp")
    for package in _PACKAGES:
        for handler in logging.getLogger(package).handlers:
            if getattr(handler, "stream", None) is sys.stdout:
                handler.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    if record.name.startswith(_SHOWN):
        return True
    # fvcore's lists of weights that fit and do not: modeling/checkpoint.py says them in a line each
    is_list = record.name.startswith("fvcore") and "\n" in record.getMessage()
    return record.levelno > logging.INFO and not is_list


@contextlib.contextmanager
def silent_children() -> Iterator[None]:
    """Drop what processes started here say: Detectron2 asks a shell for compilers on its way."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
