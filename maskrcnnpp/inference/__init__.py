"""What a trained model predicts, in the form that people use."""

from maskrcnnpp.inference.rle_rcnn import RleRCNN, to_rle, with_rle_masks
from maskrcnnpp.masks.paste import RleMasks, encode_masks

__all__ = ["RleMasks", "RleRCNN", "encode_masks", "to_rle", "with_rle_masks"]
