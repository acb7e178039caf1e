"""Networks of timm as Detectron2 backbones: the encoder of every model here, the stock one too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BACKBONE_REGISTRY, FPN, Backbone
from torch import nn

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.folding import fold_norms

#: Names of the maps of stride 2, 4, ..., 32, after those of a ResNet.
MAPS = ("conv1", "res2", "res3", "res4", "res5")
#: What becomes of batch normalization: learned, statistics kept, or all of it kept.
NORMS = ("BN", "EvalBN", "FrozenBN")
#: Name by which the registry knows the network alone.
TIMM_BACKBONE = "build_timm_backbone"


class TimmBackbone(Backbone):
    """The maps of a network of timm, called as those of a ResNet: conv1, res2, ..., res5.

    Built with random weights; ``MODEL.WEIGHTS`` fills it from ``timm://NAME`` or from a file with
    timm's names. Stages that no asked-for map needs are not built.
    """

    @configurable
    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        out_features: Sequence[str] = MAPS[1:],
        norm: str = "BN",
        freeze_at: int = 0,
        key: str = "MODEL.TIMM.NAME",
    ) -> None:
        """
        Args:
            name: timm's, such as "tf_efficientnet_lite0" or "convnext_atto".
            in_channels: channels of the images.
            out_features: names from :data:`MAPS`, fine to coarse.
            norm: "BN" learns batch normalization as usual. "EvalBN" keeps its statistics, and
                learns scale and shift. "FrozenBN" keeps all of it, as Detectron2's does. The
                last two are computed as a part of the convolution before.
            freeze_at: as for a ResNet: 1 freezes what conv1 is computed from, 2 that of res2, ...
            key: of the config that names the network, for messages.

        Raises:
            ConfigError: timm is not installed, has no such network, or that has no such maps.
        """
        super().__init__()
        if norm not in NORMS:
            raise ConfigError(f"MODEL.TIMM.NORM is {norm!r}; it can be one of {list(NORMS)}")
        self.name = name
        places, strides = _places(name, in_channels, out_features, key)
        self.network = _create(name, in_channels, key, out_indices=places)
        _drop_later_blocks(self.network)
        channels = _feature_info(self.network).channels()
        self._maps = [_map_of(stride) for stride in strides]
        self._shapes = {
            found: ShapeSpec(channels=width, stride=stride)
            for found, width, stride in zip(self._maps, channels, strides)
            if found in out_features
        }
        self._out_features = list(self._shapes)
        self._keeps_statistics = norm != "BN"
        fold_norms(self.network, in_channels)
        if norm == "FrozenBN":
            for module in _norms(self.network):
                module.requires_grad_(False)
        self._freeze(name, in_channels, freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        if not cfg.MODEL.TIMM.NAME:
            raise ConfigError(
                "MODEL.TIMM.NAME is empty: name a network of timm, such as tf_efficientnet_lite0"
            )
        return {
            "name": cfg.MODEL.TIMM.NAME,
            "in_channels": input_shape.channels,
            "out_features": cfg.MODEL.TIMM.OUT_FEATURES,
            "norm": cfg.MODEL.TIMM.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def train(self, mode: bool = True) -> TimmBackbone:
        super().train(mode)
        if self._keeps_statistics:
            for module in _norms(self.network):
                module.eval()
        return self

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Args:
            x: images, shape (N, C, H, W).

        Returns:
            The maps ``out_features``, fine to coarse.
        """
        maps = dict(zip(self._maps, self.network(x)))
        return {name: maps[name] for name in self._shapes}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)

    def _freeze(self, name: str, in_channels: int, freeze_at: int) -> None:
        if freeze_at < 1:
            return
        last = MAPS[min(freeze_at, len(MAPS)) - 1]
        if last not in self._maps:
            raise ConfigError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; {name} has the maps {self._maps} of "
                f"{list(MAPS)}: choose 0 or the place of one of these, from 1"
            )
        for parameter in _parameters_before(self.network, in_channels, self._maps.index(last)):
            parameter.requires_grad_(False)


class MaxPooledLevels(nn.Module):
    """Levels above the last one of an FPN, max-pooled from it, up to p6.

    With an encoder of all stages that is p6 alone, as by Detectron2's ``LastLevelMaxPool``.
    """

    def __init__(self, last_level: int) -> None:
        super().__init__()
        self.in_feature = f"p{last_level}"
        self.num_levels = 6 - last_level

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = []
        for _ in range(self.num_levels):
            x = F.max_pool2d(x, kernel_size=1, stride=2)
            levels.append(x)
        return levels


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """The network of ``MODEL.TIMM`` alone; reads ``MODEL.BACKBONE.FREEZE_AT`` too."""
    return TimmBackbone(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Detectron2's FPN over a network of timm: the stock arm of a comparison.

    Reads ``MODEL.TIMM``, ``MODEL.FPN`` and ``MODEL.BACKBONE.FREEZE_AT``. Its maps are
    ``MODEL.FPN.IN_FEATURES``. Stages below the last of these are not built: the levels above are
    max-pooled, as those of a nested pyramid of smaller depth are.

    Raises:
        ConfigError: a value is unknown or impossible; the message names the key.
    """
    in_features = list(cfg.MODEL.FPN.IN_FEATURES)
    first = MAPS.index(in_features[0]) if in_features and in_features[0] in MAPS else 0
    if not in_features or in_features != list(MAPS[max(first, 1) : first + len(in_features)]):
        raise ConfigError(
            f"MODEL.FPN.IN_FEATURES is {in_features}; build_timm_fpn_backbone takes neighbours of "
            f"{list(MAPS[1:])}, fine to coarse"
        )
    bottom_up = with_maps(cfg, input_shape, in_features)
    last = int(math.log2(bottom_up.output_shape()[in_features[-1]].stride))
    return FPN(
        bottom_up,
        in_features,
        cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=MaxPooledLevels(last),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def with_maps(cfg: CfgNode, input_shape: ShapeSpec, maps: Sequence[str]) -> TimmBackbone:
    """The network of ``MODEL.TIMM`` with other maps than ``MODEL.TIMM.OUT_FEATURES``."""
    return TimmBackbone(**{**TimmBackbone.from_config(cfg, input_shape), "out_features": maps})


def _create(name: str, in_channels: int, key: str, **kwargs: Any) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            f"{key} is {name}, which needs timm: pip install 'maskrcnnpp[timm]'"
        ) from error
    try:
        return timm.create_model(name, features_only=True, in_chans=in_channels, **kwargs)
    except (AssertionError, AttributeError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{key} is {name}, of which timm gives no maps: {reason}; timm.list_models() has the "
            "names"
        ) from error


def _places(
    name: str, in_channels: int, out_features: Sequence[str], key: str
) -> tuple[list[int], list[int]]:
    """The network's maps to compute, as indices, and their strides.

    They are the asked-for ones and all finer ones: what is before has to be computed anyway.
    """
    unknown = [wanted for wanted in out_features if wanted not in MAPS]
    if unknown or not out_features:
        raise ConfigError(
            f"{key} is {name}, of which the maps {list(out_features)} are asked for; they can be "
            f"{list(MAPS)}"
        )
    strides = _feature_info(_create(name, in_channels, key)).reduction()
    wanted = [2 ** (1 + MAPS.index(found)) for found in out_features]
    if not set(wanted) <= set(strides):
        raise ConfigError(
            f"{key} is {name}, which has maps of the strides {strides}; the rows or levels need "
            f"{wanted} ({', '.join(out_features)}): ask for fewer, or choose another network"
        )
    computed = sorted({s for s in strides if 2 <= s <= max(wanted) and s & (s - 1) == 0})
    # of maps of one stride the last, which has seen most
    return [len(strides) - 1 - strides[::-1].index(stride) for stride in computed], computed


def _feature_info(network: nn.Module) -> Any:
    """timm's description of the maps."""
    return network.feature_info


def _map_of(stride: int) -> str:
    return MAPS[stride.bit_length() - 2]


def _drop_later_blocks(network: nn.Module) -> None:
    """Cut what timm's EfficientNet and MobileNetV3 build and compute for no map."""
    blocks = getattr(network, "blocks", None)
    last = _feature_info(network).get_dicts()[-1]
    if isinstance(blocks, nn.Sequential) and "stage" in last:
        network.blocks = blocks[: last["stage"]]


def _norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def _parameters_before(network: nn.Module, in_channels: int, place: int) -> list[nn.Parameter]:
    """Parameters from which the map at ``place`` is computed."""
    training = {module: module.training for module in network.modules()}
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        found = network.eval()(torch.randn(1, in_channels, 64, 64))[place]
    for module, mode in training.items():
        module.training = mode
    parameters = [p for p in network.parameters() if p.requires_grad]
    grads = torch.autograd.grad(found.sum(), parameters, allow_unused=True)
    return [p for p, grad in zip(parameters, grads) if grad is not None]
