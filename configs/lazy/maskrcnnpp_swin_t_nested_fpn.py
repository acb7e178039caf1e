"""Mask R-CNN++ with a Swin-T, for Detectron2's LazyConfig. From a checkout of Detectron2:

    python tools/lazyconfig_train_net.py --config-file configs/lazy/maskrcnnpp_swin_t_nested_fpn.py

with the path of this file, and train.init_checkpoint=FILE for ImageNet weights. An MViT, a RegNet
or a SimpleFeaturePyramid over a ViT can be ``bottom_up`` in the same way.
"""

from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from detectron2.modeling import SwinTransformer

from .maskrcnnpp_R_50_nested_fpn import (  # noqa: F401
    common,
    dataloader,
    lr_multiplier,
    model,
    train,
)

model.backbone.bottom_up = L(SwinTransformer)(
    depths=[2, 2, 6, 2],
    num_heads=[3, 6, 12, 24],
    drop_path_rate=0.2,
)
model.backbone.in_features = ["p0", "p1", "p2", "p3"]  # strides 4, 8, 16, 32
model.input_format = "RGB"
model.pixel_mean = [123.675, 116.28, 103.53]
model.pixel_std = [58.395, 57.12, 57.375]
dataloader.train.mapper.image_format = "RGB"

optimizer = LazyConfig.load(str(common / "optim.py")).AdamW
train.init_checkpoint = ""
train.output_dir = "output/lazy/maskrcnnpp_swin_t_nested_fpn"
