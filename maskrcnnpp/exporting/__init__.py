"""Trained models as files that run without Detectron2: ONNX, TorchScript, OpenVINO."""

from typing import TYPE_CHECKING, Any

from maskrcnnpp.inference.session import FORMATS, Session

if TYPE_CHECKING:
    from maskrcnnpp.exporting.export import export_model

__all__ = ["FORMATS", "Session", "export_model"]


def __getattr__(name: str) -> Any:
    if name != "export_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from maskrcnnpp.exporting.export import export_model  # which needs PyTorch

    return export_model
