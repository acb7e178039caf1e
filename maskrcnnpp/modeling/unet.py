"""U-Net, wide U-Net, U-Net^e, UNet+ and UNet++ as a Detectron2 backbone: one grid, by keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone

from maskrcnnpp.modeling.blocks import conv_block
from maskrcnnpp.modeling.depths import check_grid_weights
from maskrcnnpp.modeling.grid_checks import check_grid_norm
from maskrcnnpp.modeling.nested_grid import NestedGrid
from maskrcnnpp.modeling.semantic_depths import semantic_depths, top_node
from maskrcnnpp.modeling.unet_encoders import build_unet_encoder


class NestedUNet(Backbone):
    """Encoder and grid; gives the nodes X(0,d) of the top row, ``x_0_1``, ..., as features.

    Only what the wanted depths need is built, and only what those of the moment need is computed:
    with deep supervision that is one depth at inference, unless it is an ensemble.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        *,
        row_channels: Sequence[int],
        depth: int,
        size_divisibility: int,
        extra_depths_in_training: Sequence[int] = (),
        extra_depths_at_inference: Sequence[int] = (),
        connections: str = "dense",
        num_convs: int = 2,
        upsample: str = "transposed",
        norm: str = "",
        checkpointing: bool = False,
    ) -> None:
        """
        Args:
            bottom_up: gives X(0,0), X(1,0), ... of ``row_channels``, fine to coarse.
            row_channels: of rows 0..depth.
            depth: d.
            size_divisibility: of the padded input; that of the network before pruning, so that
                a pruned one sees the same input.
            extra_depths_in_training, extra_depths_at_inference: shallower depths that are
                given too.
            connections, num_convs, upsample, norm, checkpointing: see ``MODEL.NESTED_UNET`` in
                config.py.
        """
        super().__init__()
        self.bottom_up = bottom_up
        self.depth = depth
        self.extra_depths_in_training = tuple(extra_depths_in_training)
        self.extra_depths_at_inference = tuple(extra_depths_at_inference)
        self._size_divisibility = size_divisibility
        depths = sorted({depth, *extra_depths_in_training, *extra_depths_at_inference})
        self.grid = NestedGrid(
            row_channels=row_channels,
            make_node=lambda cin, cout: conv_block(cin, cout, num_convs, norm),
            depths=depths,
            connections=connections,
            upsample=upsample,
            checkpointing=checkpointing,
        )
        self._out_features = [top_node(d) for d in depths]
        self._out_feature_channels = dict.fromkeys(self._out_features, row_channels[0])
        self._out_feature_strides = dict.fromkeys(self._out_features, 1)

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: images, shape (N, C, H, W).

        Returns:
            ``{"x_0_1": ..., "x_0_4": ...}``, each (N, row_channels[0], H, W): the full depth, and
            the shallower ones that are wanted now.
        """
        rows = list(self.bottom_up(x).values())
        extra = self.extra_depths_in_training if self.training else self.extra_depths_at_inference
        nodes = self.grid(rows, [(0, depth) for depth in (*extra, self.depth)])
        return {top_node(depth): node for (_, depth), node in nodes.items()}

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        # fvcore's checkpointer and PyTorch take what fits and leave the rest as it is
        part = {name: x for name, x in state_dict.items() if name.startswith(prefix)}
        check_grid_weights(part, self.state_dict(prefix=prefix), "MODEL.NESTED_UNET")
        super()._load_from_state_dict(state_dict, prefix, *args)


@BACKBONE_REGISTRY.register()
def build_nested_unet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> NestedUNet:
    """The network that ``MODEL.NESTED_UNET`` describes, for ``SemanticSegmentor``.

    Raises:
        ConfigError: a value is unknown or impossible; the message names the key.
    """
    unet = cfg.MODEL.NESTED_UNET
    depth, in_training, at_inference = semantic_depths(cfg)
    check_grid_norm(unet, "MODEL.NESTED_UNET", unet.NORM, "MODEL.NESTED_UNET.NORM")
    widths = unet.ROW_CHANNELS[: depth + 1]
    return NestedUNet(
        build_unet_encoder(cfg, input_shape, widths),
        row_channels=widths,
        depth=depth,
        size_divisibility=2 ** (len(unet.ROW_CHANNELS) - 1),
        extra_depths_in_training=in_training,
        extra_depths_at_inference=at_inference,
        connections=unet.CONNECTIONS,
        num_convs=unet.NUM_CONVS,
        upsample=unet.UPSAMPLE,
        norm=unet.NORM,
        checkpointing=unet.CHECKPOINTING,
    )
