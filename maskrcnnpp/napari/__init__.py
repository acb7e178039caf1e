"""A plugin of napari: find objects in a layer, correct them, and improve the model with them.

Only :mod:`maskrcnnpp.napari.widget` and its ``fields`` need Qt; ``napari.yaml`` says what napari
gets.
"""

import sys
from pathlib import Path


def _keep_triton_out() -> None:
    """Let PyTorch do without triton beside the software rendering of Mesa.

    Both bring an LLVM, and the second one that is loaded ends the process by a segmentation fault.
    A window of napari may have loaded Mesa's. Predictions need no triton.
    """
    try:
        is_there = "libLLVM" in Path("/proc/self/maps").read_text(encoding="utf-8")
    except (OSError, ValueError):  # not Linux
        return
    if is_there:
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # as Python's docs say


_keep_triton_out()
