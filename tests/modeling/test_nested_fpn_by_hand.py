"""A nested pyramid that is put together without a config, as by LazyConfig."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.nested_fpn import NestedFPN


class Encoder(nn.Module):
    """Two maps, of strides 4 and 8, and as many as asked for beyond."""

    padding_constraints: dict = {}

    def __init__(self, strides=(4, 8, 16, 32)):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.strides = strides

    def output_shape(self):
        return {f"c{k}": ShapeSpec(channels=8, stride=s) for k, s in enumerate(self.strides)}

    def forward(self, x):
        x = self.conv(x)
        return {f"c{k}": nn.functional.avg_pool2d(x, s) for k, s in enumerate(self.strides)}


def nested_fpn(strides=(4, 8, 16, 32), **kwargs):
    given = {
        "bottom_up": Encoder(strides),
        "in_features": ["c0", "c1", "c2", "c3"],
        "out_channels": 8,
        "row_channels": [8, 8, 8, 8],
        "depth": 3,
        "num_levels": 5,
        "size_divisibility": 32,
        **kwargs,
    }
    return NestedFPN(**given)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"row_channels": [8, 8, 8]}, "of depth 3 has 4 rows.*row_channels 3, "),
        ({"depth": 2}, "of depth 2 has 3 rows.*in_features names 4"),
        ({"num_levels": 3}, "num_levels is 3"),
        ({"strides": (4, 8, 16, 16)}, r"strides \[4, 8, 16, 16\].*double"),
        ({"strides": (1, 2, 4, 8)}, "begin at 2"),
        ({"extra_depths_in_training": (3,)}, "extra_depths_in_training is .3.*some of 1..2"),
        ({"extra_depths_at_inference": (1,)}, "extra_depths_at_inference .1.*some of these"),
        ({"extra_depths_in_training": (1,), "norm": "BN"}, "MODEL.FPN.NORM.*extra_depths_in_tr"),
        ({"top_block": LastLevelP6P7(8, 8)}, "in_feature of the top_block is 'res5'"),
    ],
)
def test_a_pyramid_built_without_a_config_names_what_is_wrong(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        nested_fpn(**kwargs)


@pytest.mark.parametrize("connections", ["dense", "ensemble"])
def test_shallower_pyramids_that_no_head_reads(connections):
    pyramid = nested_fpn(extra_depths_in_training=(1, 2), connections=connections)
    image = torch.randn(1, 3, 64, 64)
    for _ in range(2):
        features = pyramid(image)
        sum(x.sum() for x in features.values()).backward()
    with torch.no_grad():
        pyramid(image)  # a loss of validation has no gradient at all
    pyramid(image)["p2"].sum().backward()
    assert pyramid.eval()(image)
    with pytest.raises(ConfigError, match="extra_depths_in_training.* has .1.*NestedROIHeads"):
        pyramid.train()(image)
