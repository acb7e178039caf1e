"""The nested grid as a Detectron2 backbone: a drop-in for ``build_resnet_fpn_backbone``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.blocks import conv_block, conv_layer, node_norm
from maskrcnnpp.modeling.depths import (
    FINE_LEVEL,
    check_grid_weights,
    feature_name,
    refuse_batch_norm,
    supervised_depths,
)
from maskrcnnpp.modeling.encoder import RESNET_BACKBONE, build_encoder
from maskrcnnpp.modeling.grid_checks import check_grid_norm, checked_depth
from maskrcnnpp.modeling.nested_grid import NestedGrid, outer_diagonal
from maskrcnnpp.modeling.pyramid_readers import GradientWatch, check_readers


class NestedFPN(Backbone):
    """Feature pyramid read off the outer diagonal of a UNet++ grid.

    Row i has the stride 2^k of its encoder map: k = i+2 where row 0 is res2, k = i+1 where it is
    conv1. ``fpn_lateral{k}`` (1x1) turns that map into X(i,0), ``grid`` computes the nodes, and
    ``fpn_output{k}`` (3x3) turns X(i,d-i) into level p(k), as the modules of these names do in
    :class:`detectron2.modeling.FPN`. Levels above that of row d are max-pooled from it, so that the
    same levels exist at every depth; ``top_block`` adds others above. Level p1 is X(0,d) as it is:
    at stride 2 a convolution to ``out_channels`` would cost more than the grid.

    The output convolutions are shared by all depths, as are the heads behind them: a shallower
    pyramid is the same network with fewer nodes.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        *,
        row_channels: Sequence[int],
        depth: int,
        num_levels: int,
        size_divisibility: int,
        extra_depths_in_training: Sequence[int] = (),
        extra_depths_at_inference: Sequence[int] = (),
        connections: str = "dense",
        num_convs: int = 1,
        node: str = "full",
        upsample: str = "nearest",
        fine_row: str = "all",
        norm: str = "",
        checkpointing: bool = False,
        top_block: nn.Module | None = None,
    ) -> None:
        """
        Args:
            bottom_up: the encoder; its maps for the rows halve in size, from stride 2 or more.
            in_features: the encoder's maps for rows 0..depth, fine to coarse.
            out_channels: channels of every level.
            row_channels: channels of the nodes of rows 0..depth.
            depth: d, one less than there are rows.
            num_levels: how many levels to return, the first of row 0; at least depth + 1. Those
                of ``top_block`` come on top.
            size_divisibility: of the padded input; the coarsest stride of the encoder before
                it was pruned to ``depth``, so that a pruned model sees the same input.
            extra_depths_in_training: shallower depths whose pyramids :meth:`forward` returns too,
                one an iteration, in turn; all of them with "ensemble" connections, where each has
                nodes of its own, which would have no gradient out of turn.
            extra_depths_at_inference: shallower depths whose pyramids it returns, all of them;
                some of those in training.
            connections, num_convs, node, upsample, fine_row: see ``MODEL.NESTED_FPN`` in
                config.py.
            norm: normalization of all convolutions ("" for none, "GN", ...).
            checkpointing: of the grid; see :class:`NestedGrid`.
            top_block: levels above, as for :class:`detectron2.modeling.FPN`, such as
                ``LastLevelP6P7``. Its ``in_feature`` is a level, not a map of the encoder: that
                may be gone at a smaller depth.

        Raises:
            ConfigError: the arguments do not fit each other.
        """
        super().__init__()
        shapes = bottom_up.output_shape()
        strides = _row_strides(bottom_up, in_features, type(bottom_up).__name__)
        stages = [int(math.log2(stride)) for stride in strides]
        extra = (extra_depths_in_training, extra_depths_at_inference)
        _check_depths(depth, in_features, row_channels, num_levels, *extra)
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)
        self.depth = depth
        self.extra_depths_in_training = tuple(extra_depths_in_training)
        self.extra_depths_at_inference = tuple(extra_depths_at_inference)
        self._stages = tuple(stages)
        self._size_divisibility = size_divisibility

        for name, stage, channels in zip(in_features, stages, row_channels):
            lateral = conv_layer(shapes[name].channels, channels, 1, node_norm(norm, channels))
            self.add_module(f"fpn_lateral{stage}", lateral)
            if f"p{stage}" != FINE_LEVEL:
                output = conv_layer(channels, out_channels, 3, get_norm(norm, out_channels))
                self.add_module(f"fpn_output{stage}", output)
                if extra_depths_in_training:
                    refuse_batch_norm(output, "MODEL.FPN.NORM")
        self.grid = NestedGrid(
            row_channels=row_channels,
            make_node=lambda cin, cout: conv_block(cin, cout, num_convs, norm, node),
            depths=sorted({depth, *extra_depths_in_training, *extra_depths_at_inference}),
            connections=connections,
            upsample=upsample,
            fine_row=fine_row,
            checkpointing=checkpointing,
        )

        self._num_pooled = num_levels
        levels = range(stages[0], stages[0] + num_levels)
        self.top_block = top_block
        if top_block is not None:
            above: Any = top_block  # of attributes that nn.Module does not have
            names = [f"p{level}" for level in levels]
            if above.in_feature not in names:
                raise ConfigError(
                    f"in_feature of the top_block is {above.in_feature!r}; over a nested "
                    f"pyramid it can be one of {names}"
                )
            self._top_source = names.index(above.in_feature)
            levels = range(stages[0], levels.stop + above.num_levels)
        self._levels = tuple(levels)
        self._out_features = [f"p{level}" for level in levels]
        self._out_feature_strides = {f"p{level}": 2**level for level in levels}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        if FINE_LEVEL in self._out_features:
            self._out_feature_channels[FINE_LEVEL] = row_channels[0]
        self._watch = GradientWatch()

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The encoder's square size, where it needs one (ViTDet)."""
        square = self.bottom_up.padding_constraints.get("square_size", 0)
        return {"square_size": square} if square else {}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: images, shape (N, C, H, W).

        Returns:
            ``{"p2": ..., "p6": ...}``, level k of shape (N, out_channels, ~H/2^k, ~W/2^k), before
            them p1, of row_channels[0] channels, where row 0 is conv1, and for an extra depth e
            the same levels as ``p2_d{e}``, ... These are not in :meth:`output_shape`.
        """
        extra = self._depths_in_turn() if self.training else self.extra_depths_at_inference
        depths = (*extra, self.depth)
        is_watched = self.training and not torch.compiler.is_compiling()
        if is_watched:
            self._watch.restart(extra)
        encoder = self.bottom_up(x)
        # popped: the encoder's maps are wide, and none is needed once it is a row
        rows = [
            self.get_submodule(f"fpn_lateral{stage}")(encoder.pop(name))
            for stage, name in zip(self._stages, self.in_features)
        ]
        nodes = self.grid(rows, [node for depth in depths for node in outer_diagonal(depth)])
        features: dict[str, torch.Tensor] = {}
        for depth in (self.depth, *extra):
            pyramid = [
                self._level(row, nodes[row, column]) for row, column in outer_diagonal(depth)
            ]
            while len(pyramid) < self._num_pooled:
                # as LastLevelMaxPool of Detectron2 does for p6
                pyramid.append(F.max_pool2d(pyramid[-1], kernel_size=1, stride=2))
            if self.top_block is not None:
                pyramid += self.top_block(pyramid[self._top_source])
            shallow = None if depth == self.depth else depth
            for level, feature in zip(self._levels, pyramid):
                features[feature_name(f"p{level}", shallow)] = feature
                if is_watched and extra:
                    self._watch.add(shallow, feature)
        return features

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        # fvcore's checkpointer and PyTorch take what fits and leave the rest as it is
        part = {name: x for name, x in state_dict.items() if name.startswith(prefix)}
        check_grid_weights(part, self.state_dict(prefix=prefix))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _depths_in_turn(self) -> tuple[int, ...]:
        # by the iteration and not by chance: all processes of a training take the same one, and a
        # restarted training goes on in turn
        depths = self.extra_depths_in_training
        if self.grid.connections == "ensemble":
            return depths
        step = get_event_storage().iter if has_event_storage() else 0
        return (depths[step % len(depths)],) if depths else ()

    def _level(self, row: int, x: torch.Tensor) -> torch.Tensor:
        stage = self._stages[row]
        return x if f"p{stage}" == FINE_LEVEL else self.get_submodule(f"fpn_output{stage}")(x)


#: Names by which the registry knows the nested pyramids; all have ``MODEL.NESTED_FPN.DEPTH``.
NESTED_BACKBONES = (
    "build_nested_fpn_backbone",
    "build_resnet_nested_fpn_backbone",
    "build_retinanet_nested_fpn_backbone",
)


@BACKBONE_REGISTRY.register()
def build_nested_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> NestedFPN:
    """A nested feature pyramid over the backbone that ``MODEL.NESTED_FPN.ENCODER`` names.

    Outputs p2..p6, with a map of stride 2 also p1. Reads ``MODEL.FPN`` (IN_FEATURES, OUT_CHANNELS,
    NORM), ``MODEL.NESTED_FPN`` and the encoder's own keys. The pyramids of shallower depths are
    handed on where ``MODEL.META_ARCHITECTURE`` or ``MODEL.ROI_MASK_HEAD.NAME`` learns from them.

    Raises:
        ConfigError: a value is unknown or impossible; the message names the key.
    """
    return _build(cfg, input_shape, cfg.MODEL.NESTED_FPN.ENCODER)


@BACKBONE_REGISTRY.register()
def build_resnet_nested_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> NestedFPN:
    """:func:`build_nested_fpn_backbone` over the ResNet of ``MODEL.RESNETS``."""
    return _build(cfg, input_shape, RESNET_BACKBONE)


@BACKBONE_REGISTRY.register()
def build_retinanet_nested_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> NestedFPN:
    """:func:`build_nested_fpn_backbone` with RetinaNet's p6 and p7: for p3..p7 over res3..res5.

    They are Detectron2's ``LastLevelP6P7`` on p5, not on res5, which a smaller depth does not have.
    """
    return _build(cfg, input_shape, cfg.MODEL.NESTED_FPN.ENCODER, has_p6p7=True)


def _build(
    cfg: CfgNode, input_shape: ShapeSpec, encoder: str, *, has_p6p7: bool = False
) -> NestedFPN:
    if encoder in NESTED_BACKBONES:
        raise ConfigError(
            f"MODEL.NESTED_FPN.ENCODER is {encoder}, which is a nested pyramid itself: name the "
            f"encoder under it, such as {RESNET_BACKBONE}"
        )
    in_features = list(cfg.MODEL.FPN.IN_FEATURES)
    depth = _checked_depth(cfg, in_features)
    rows = in_features[: depth + 1]

    bottom_up = build_encoder(cfg, input_shape, encoder, rows)  # no stage below row `depth`
    finest = int(math.log2(_row_strides(bottom_up, rows, encoder)[0]))
    last = finest + len(in_features) - 1
    levels = [f"p{level}" for level in range(finest, last + (3 if has_p6p7 else 2))]
    check_readers(cfg, levels, has_p6p7=has_p6p7)
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    top_block = LastLevelP6P7(channels, channels, f"p{last}") if has_p6p7 else None
    in_training, at_inference = supervised_depths(cfg, depth)
    return NestedFPN(
        bottom_up,
        rows,
        channels,
        row_channels=cfg.MODEL.NESTED_FPN.ROW_CHANNELS[: depth + 1],
        depth=depth,
        # and p6, as LastLevelMaxPool adds to a stock FPN
        num_levels=len(in_features) + (0 if has_p6p7 else 1),
        size_divisibility=2**last,
        extra_depths_in_training=in_training,
        extra_depths_at_inference=at_inference,
        connections=cfg.MODEL.NESTED_FPN.CONNECTIONS,
        num_convs=cfg.MODEL.NESTED_FPN.NUM_CONVS,
        node=cfg.MODEL.NESTED_FPN.NODE,
        upsample=cfg.MODEL.NESTED_FPN.UPSAMPLE,
        fine_row=cfg.MODEL.NESTED_FPN.FINE_ROW,
        norm=cfg.MODEL.FPN.NORM,
        checkpointing=cfg.MODEL.NESTED_FPN.CHECKPOINTING,
        top_block=top_block,
    )


def _row_strides(bottom_up: Backbone, in_features: Sequence[str], encoder: str) -> list[int]:
    strides = [bottom_up.output_shape()[name].stride for name in in_features]
    if strides[0] < 2 or any(b != 2 * a for a, b in zip(strides, strides[1:])):
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES is {list(in_features)}; the maps of {encoder} have the strides "
            f"{strides}: those of a nested pyramid begin at 2 or more, and double"
        )
    return strides


def _check_depths(
    depth: int,
    in_features: Sequence[str],
    row_channels: Sequence[int],
    num_levels: int,
    in_training: Sequence[int],
    at_inference: Sequence[int],
) -> None:
    rows = depth + 1
    if not len(in_features) == len(row_channels) == rows <= num_levels:
        raise ConfigError(
            f"a nested pyramid of depth {depth} has {rows} rows and as many levels or more; "
            f"in_features names {len(in_features)}, row_channels {len(row_channels)}, and "
            f"num_levels is {num_levels}"
        )
    if not set(at_inference) <= set(in_training) <= set(range(1, depth)):
        raise ConfigError(
            f"extra_depths_in_training is {list(in_training)} and extra_depths_at_inference "
            f"{list(at_inference)}: the former are some of 1..{depth - 1}, the latter some of these"
        )


def _checked_depth(cfg: CfgNode, in_features: list[str]) -> int:
    if len(in_features) < 2:
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES is {in_features}; a nested pyramid needs two or more maps of "
            "its encoder, fine to coarse, such as res2, res3, res4, res5"
        )
    depth = checked_depth(cfg.MODEL.NESTED_FPN, "MODEL.NESTED_FPN", in_features)
    norm, fuse_type = cfg.MODEL.FPN.NORM, cfg.MODEL.FPN.FUSE_TYPE
    if fuse_type != "sum":
        raise ConfigError(
            f"MODEL.FPN.FUSE_TYPE is {fuse_type!r}; a nested pyramid concatenates and has no such "
            'choice: leave it at its default, "sum"'
        )
    check_grid_norm(cfg.MODEL.NESTED_FPN, "MODEL.NESTED_FPN", norm, "MODEL.FPN.NORM")
    try:
        get_norm(norm, cfg.MODEL.FPN.OUT_CHANNELS)
    except ValueError as error:  # GN has 32 groups
        raise ConfigError(
            f"MODEL.FPN.NORM is {norm}, which does not fit MODEL.FPN.OUT_CHANNELS: {error}"
        ) from error
    return depth
