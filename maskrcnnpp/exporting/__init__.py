"""Trained models as files that run without Detectron2: ONNX, TorchScript, OpenVINO."""

from maskrcnnpp.exporting.export import export_model
from maskrcnnpp.exporting.formats import FORMATS
from maskrcnnpp.exporting.session import Session

__all__ = ["FORMATS", "Session", "export_model"]
