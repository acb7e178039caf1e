"""The encoder under a grid: any backbone of Detectron2's registry, no deeper than needed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.resnet import BasicStem, ResNet, build_resnet_backbone

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.encoder_cuts import keep_maps
from maskrcnnpp.modeling.timm_backbone import TIMM_BACKBONE, with_maps

RESNET_BACKBONE = "build_resnet_backbone"
#: Maps of a ResNet that can be rows of a grid, fine to coarse; each has half the size of the one
#: before it. "conv1" is the stem's before its max-pooling; Detectron2's "stem" is after it.
ENCODER_MAPS = ("conv1", "res2", "res3", "res4", "res5")


class ResNetWithConv1(Backbone):
    """Detectron2's ResNet with one map more, ``conv1``: stride 2, after the stem's ReLU.

    It takes over the stem and the stages of a ResNet, under their names: weights of a ResNet load.
    """

    def __init__(self, resnet: ResNet, *, is_stem_alone: bool = False) -> None:
        """
        Args:
            resnet: one with a :class:`detectron2.modeling.backbone.resnet.BasicStem`.
            is_stem_alone: leave out its stages; conv1 is the only map.
        """
        super().__init__()
        if not isinstance(resnet.stem, BasicStem):
            raise TypeError(f"conv1 is a map of BasicStem, not of {type(resnet.stem).__name__}")
        self.stem = resnet.stem
        self._stages = () if is_stem_alone else resnet.stage_names
        for name, stage in zip(self._stages, resnet.stages):
            self.add_module(name, stage)
        conv1 = ShapeSpec(channels=resnet.stem.out_channels, stride=resnet.stem.stride // 2)
        self._shapes = {"conv1": conv1, **({} if is_stem_alone else resnet.output_shape())}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: images, shape (N, C, H, W).

        Returns:
            ``{"conv1": ..., "res2": ...}``: conv1 and the maps that the ResNet hands out.
        """
        x = F.relu_(self.stem.conv1(x))
        outputs = {"conv1": x}
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)  # the rest of BasicStem
        for name in self._stages:
            x = self.get_submodule(name)(x)
            if name in self._shapes:
                outputs[name] = x
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)


def build_encoder(cfg: CfgNode, input_shape: ShapeSpec, name: str, maps: list[str]) -> Backbone:
    """The backbone that the registry has as ``name``, without stages that no row needs.

    Args:
        cfg: read by that backbone.
        input_shape: of the images.
        name: registered with ``BACKBONE_REGISTRY``, such as "build_timm_backbone".
        maps: names of its maps for the rows, fine to coarse.

    Returns:
        A backbone with these maps at least.

    Raises:
        ConfigError: the name is unknown, or the backbone has no such maps.
    """
    if name == RESNET_BACKBONE:
        return build_resnet_encoder(cfg, input_shape, maps)
    if name == TIMM_BACKBONE:
        return with_maps(cfg, input_shape, maps)
    if name not in BACKBONE_REGISTRY:
        raise ConfigError(
            f"MODEL.NESTED_FPN.ENCODER is {name!r}; no backbone is registered by that name. It can "
            f"be {RESNET_BACKBONE}, {TIMM_BACKBONE}, or one that is registered before"
        )
    encoder = BACKBONE_REGISTRY.get(name)(cfg, input_shape)
    found = {key: shape.stride for key, shape in encoder.output_shape().items()}
    missing = [key for key in maps if key not in found]
    if missing:
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES names {missing}; the maps of MODEL.NESTED_FPN.ENCODER {name}, "
            f"with their strides, are {found}"
        )
    keep_maps(encoder, maps)
    return encoder


def build_resnet_encoder(cfg: CfgNode, input_shape: ShapeSpec, maps: list[str]) -> Backbone:
    """The ResNet of ``cfg``, no deeper than the last of ``maps``.

    Args:
        cfg: read are ``MODEL.RESNETS`` and ``MODEL.BACKBONE.FREEZE_AT``; it stays as it is.
        input_shape: of the images.
        maps: neighbours in :data:`ENCODER_MAPS`, or conv1 alone.

    Returns:
        A backbone that hands out ``maps``.

    Raises:
        ConfigError: ``maps`` are others.
    """
    known = list(ENCODER_MAPS)
    first = known.index(maps[0]) if maps and maps[0] in known else 0
    if not maps or maps != known[first : first + len(maps)]:
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES is {maps}; a grid over a ResNet needs neighbours of "
            f"{known}, fine to coarse"
        )
    if cfg.MODEL.RESNETS.RES5_DILATION != 1 and "res5" in maps:
        raise ConfigError(
            "MODEL.RESNETS.RES5_DILATION must be 1: the rows of a nested pyramid halve in size"
        )
    cfg = cfg.clone()
    cfg.defrost()
    stages = [name for name in maps if name != "conv1"]
    cfg.MODEL.RESNETS.OUT_FEATURES = stages or ["res2"]  # Detectron2 builds one at least
    resnet = build_resnet_backbone(cfg, input_shape)
    return ResNetWithConv1(resnet, is_stem_alone=not stages) if "conv1" in maps else resnet
