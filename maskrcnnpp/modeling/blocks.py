"""Convolutions that the grids of all networks are made of."""

from __future__ import annotations

import fvcore.nn.weight_init as weight_init
from detectron2.layers import Conv2d, get_norm
from torch import nn


def node_norm(norm: str, channels: int) -> nn.Module | None:
    """Detectron2's ``get_norm``, and for narrow rows GN of fewer groups.

    Detectron2's GN has 32 groups: two channels each at a width of 64, one at 32, where it would be
    instance normalization. Below 64 channels the groups stay at two.

    Raises:
        ValueError: GN does not fit the number of channels.
    """
    if norm != "GN" or channels >= 64:
        return get_norm(norm, channels)
    if channels % 2:
        raise ValueError(f"{channels} is odd")
    return nn.GroupNorm(channels // 2, channels)


def conv_layer(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: nn.Module | None,
    activation: nn.Module | None = None,
) -> Conv2d:
    """A convolution that keeps height and width, with a bias where nothing normalizes it."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=norm is None,
        norm=norm,
        activation=activation,
    )
    fill = weight_init.c2_msra_fill if activation else weight_init.c2_xavier_fill
    fill(conv)
    return conv


def conv_block(in_channels: int, out_channels: int, num_convs: int, norm: str) -> nn.Sequential:
    """H of one node: ``num_convs`` times 3x3 convolution, norm, ReLU."""
    channels = [in_channels] + [out_channels] * num_convs
    return nn.Sequential(
        *(
            conv_layer(cin, cout, 3, node_norm(norm, cout), nn.ReLU(inplace=True))
            for cin, cout in zip(channels, channels[1:])
        )
    )
