"""Convolutions that the grids of all networks are made of."""

from __future__ import annotations

import itertools

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
    groups: int = 1,
) -> Conv2d:
    """A convolution that keeps height and width, with a bias where nothing normalizes it."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        groups=groups,
        bias=norm is None,
        norm=norm,
        activation=activation,
    )
    fill = weight_init.c2_msra_fill if activation else weight_init.c2_xavier_fill
    fill(conv)
    if activation:  # this fill counts the outputs of all groups, as if each input reached them
        conv.weight.data *= groups**0.5
    return conv


#: What H of a node can be made of; see :func:`conv_block`.
NODES = ("full", "separable")


def conv_block(
    in_channels: int, out_channels: int, num_convs: int, norm: str, node: str = "full"
) -> nn.Sequential:
    """H of one node: ``num_convs`` times convolution, norm, ReLU.

    Args:
        node: the convolution; one of :data:`NODES`. "full" is 3x3. "separable" is 1x1, then 5x5 in
            each channel by itself. (Detectron2's ``DepthwiseSeparableConv2d`` has the other order,
            which filters all the maps that a node reads instead of the one that it makes. A 3x3
            filter takes as long as one of 5x5.)
    """
    layers: list[nn.Module] = []
    for cin, cout in itertools.pairwise([in_channels] + [out_channels] * num_convs):
        last = (node_norm(norm, cout), nn.ReLU(inplace=True))
        if node == "separable":
            layers.append(conv_layer(cin, cout, 1, None))
            layers.append(conv_layer(cout, cout, 5, *last, groups=cout))
        else:
            layers.append(conv_layer(cin, cout, 3, *last))
    return nn.Sequential(*layers)
