"""Predictions of a trained model, in the form that people use."""

from typing import TYPE_CHECKING, Any

from maskrcnnpp.masks.paste import RleMasks, encode_masks

if TYPE_CHECKING:
    from maskrcnnpp.inference.rle_rcnn import RleRCNN, to_rle, with_rle_masks

__all__ = ["RleMasks", "RleRCNN", "encode_masks", "to_rle", "with_rle_masks"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from maskrcnnpp.inference import rle_rcnn  # which needs PyTorch

    return getattr(rle_rcnn, name)
