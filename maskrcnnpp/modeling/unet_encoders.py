"""Column 0 of the U-Net family: the papers' encoder, or rows read off another network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.blocks import conv_block, conv_layer, node_norm
from maskrcnnpp.modeling.encoder import build_resnet_encoder
from maskrcnnpp.modeling.timm_backbone import MAPS, TimmBackbone

#: What a name in ``MODEL.NESTED_UNET.ENCODER`` begins with that is one of timm's.
TIMM = "timm/"
_KEY = "MODEL.NESTED_UNET.ENCODER"


class UNetEncoder(Backbone):
    """Column 0 of the papers' networks: X(0,0) = H(image), X(i,0) = H(D(X(i-1,0))).

    D is a 2x2 max-pooling. Its maps are called ``x_0_0``, ``x_1_0``, ...
    """

    def __init__(
        self, in_channels: int, *, row_channels: Sequence[int], num_convs: int = 2, norm: str = ""
    ) -> None:
        """
        Args:
            in_channels: of the images.
            row_channels: of row 0, 1, ...
            num_convs, norm: see ``MODEL.NESTED_UNET`` in config.py.
        """
        super().__init__()
        widths = [in_channels, *row_channels]
        self._shapes = {}
        for row, (cin, cout) in enumerate(zip(widths, row_channels)):
            self.add_module(f"x_{row}_0", conv_block(cin, cout, num_convs, norm))
            self._shapes[f"x_{row}_0"] = ShapeSpec(channels=cout, stride=2**row)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: images, shape (N, C, H, W), H and W at least the stride of the last row.

        Returns:
            ``{"x_0_0": ..., "x_1_0": ...}``, row i of H/2^i x W/2^i, rounded down.
        """
        maps = {}
        for row, name in enumerate(self._shapes):
            x = self.get_submodule(name)(F.max_pool2d(x, 2) if row else x)
            maps[name] = x
        return maps

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)


class RowsOfEncoder(Backbone):
    """Column 0 over another network: X(0,0) = H(image), the others its maps, projected (1x1).

    Rows keep their strides 1, 2, 4, ...: most networks have no map as large as the image, on which
    the papers segment.
    """

    def __init__(
        self,
        encoder: Backbone,
        in_channels: int,
        *,
        row_channels: Sequence[int],
        num_convs: int = 2,
        norm: str = "",
    ) -> None:
        """
        Args:
            encoder: gives maps of the strides 2, 4, ..., for rows 1, 2, ..., in this order.
            in_channels: of the images.
            row_channels: of row 0, 1, ...
            num_convs, norm: see ``MODEL.NESTED_UNET`` in config.py.
        """
        super().__init__()
        self.encoder = encoder
        self.x_0_0 = conv_block(in_channels, row_channels[0], num_convs, norm)
        self._shapes = {"x_0_0": ShapeSpec(channels=row_channels[0], stride=1)}
        self._maps = list(encoder.output_shape())
        for row, (name, width) in enumerate(zip(self._maps, row_channels[1:], strict=True), 1):
            channels = encoder.output_shape()[name].channels
            self.add_module(f"x_{row}_0", conv_layer(channels, width, 1, node_norm(norm, width)))
            self._shapes[f"x_{row}_0"] = ShapeSpec(channels=width, stride=2**row)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """As :meth:`UNetEncoder.forward`; H and W have to be multiples of the last row's stride."""
        maps = {"x_0_0": self.x_0_0(x)}
        found = self.encoder(x)
        for row, name in enumerate(self._maps, 1):
            maps[f"x_{row}_0"] = self.get_submodule(f"x_{row}_0")(found[name])
        return maps

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)


def build_unet_encoder(cfg: CfgNode, input_shape: ShapeSpec, widths: Sequence[int]) -> Backbone:
    """Column 0 of as many rows as there are ``widths``, by ``MODEL.NESTED_UNET.ENCODER``.

    Raises:
        ConfigError: there is no such encoder, or it has not as many rows.
    """
    unet, name = cfg.MODEL.NESTED_UNET, cfg.MODEL.NESTED_UNET.ENCODER
    how = {"row_channels": widths, "num_convs": unet.NUM_CONVS, "norm": unet.NORM}
    if name == "unet":
        return UNetEncoder(input_shape.channels, **how)
    maps = list(MAPS[: len(widths) - 1])
    if len(maps) < len(widths) - 1:
        raise ConfigError(
            f"{_KEY} is {name}, which has {len(MAPS)} maps for the rows below the first; "
            f"MODEL.NESTED_UNET.ROW_CHANNELS has {len(widths)} entries"
        )
    if name.startswith(TIMM):
        encoder = TimmBackbone(
            name.removeprefix(TIMM),
            in_channels=input_shape.channels,
            out_features=maps,
            key=_KEY,
        )
    elif name == "resnet":
        encoder = build_resnet_encoder(cfg, input_shape, maps)
    else:
        raise ConfigError(f"{_KEY} is {name!r}; it can be 'unet', 'resnet' or '{TIMM}NAME'")
    return RowsOfEncoder(encoder, input_shape.channels, **how)
