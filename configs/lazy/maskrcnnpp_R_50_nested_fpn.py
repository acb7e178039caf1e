"""Mask R-CNN++ with a ResNet-50, for Detectron2's LazyConfig. From a checkout of Detectron2:

    python tools/lazyconfig_train_net.py --config-file configs/lazy/maskrcnnpp_R_50_nested_fpn.py

with the path of this file; keys are set as KEY=VALUE behind it, such as train.device=cpu. The data
set is that of `maskrcnnpp prepare dsb2018`; DETECTRON2_DATASETS says where it lies.
"""

from pathlib import Path

import detectron2
import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig

import maskrcnnpp  # noqa: F401  # registers the data sets
from maskrcnnpp.evaluation.coco_evaluation import COCOInstanceEvaluator
from maskrcnnpp.modeling.mask_head import DeepSupervisionMaskHead, NestedROIHeads
from maskrcnnpp.modeling.nested_fpn import NestedFPN

# by path: model_zoo.get_config does the same, where setuptools still has pkg_resources
common = Path(detectron2.__file__).parent / "model_zoo" / "configs" / "common"
model = LazyConfig.load(str(common / "models" / "mask_rcnn_fpn.py")).model
dataloader = LazyConfig.load(str(common / "data" / "coco.py")).dataloader
optimizer = LazyConfig.load(str(common / "optim.py")).SGD
lr_multiplier = LazyConfig.load(str(common / "coco_schedule.py")).lr_multiplier_1x
train = LazyConfig.load(str(common / "train.py")).train

# the pyramid: res2..res5 of Detectron2's ResNet-50 are the rows of the grid
model.backbone.bottom_up.freeze_at = 2
model.backbone = L(NestedFPN)(
    bottom_up=model.backbone.bottom_up,
    in_features=["res2", "res3", "res4", "res5"],
    out_channels=256,
    row_channels=[64, 64, 128, 256],
    depth=3,
    num_levels=5,
    size_divisibility=32,
    extra_depths_in_training=[1, 2],
    norm="GN",
)
# the heads: each depth's masks are pooled, and learn
model.roi_heads._target_ = NestedROIHeads
model.roi_heads.shallow_roi_fraction = 0.1
model.roi_heads.mask_head._target_ = DeepSupervisionMaskHead
model.roi_heads.mask_head.shallow_weights = [0.5, 0.5]
# one class of small objects, many in an image
model.roi_heads.num_classes = 1
model.roi_heads.box_predictor.test_topk_per_image = 500
model.proposal_generator.anchor_generator.sizes = [[8], [16], [32], [64], [128]]

dataloader.train.dataset.names = "dsb2018_train"
dataloader.train.mapper.instance_mask_format = "bitmask"
dataloader.train.mapper.augmentations = [
    L(T.RandomCrop)(crop_type="absolute", crop_size=[512, 512]),
    L(T.RandomFlip)(horizontal=True),
]
dataloader.test.dataset.names = "dsb2018_val"
dataloader.test.mapper.augmentations = []
dataloader.evaluator = L(COCOInstanceEvaluator)(
    dataset_name="${..test.dataset.names}", max_dets_per_image=500
)
train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
train.max_iter = 1000
train.output_dir = "output/lazy/maskrcnnpp_R_50_nested_fpn"
