"""Detectron2's backbones without the stages that a grid of smaller depth does not need."""

from __future__ import annotations

import logging

from detectron2.modeling.backbone import (
    Backbone,
    MViT,
    RegNet,
    ResNet,
    SimpleFeaturePyramid,
    SwinTransformer,
)

logger = logging.getLogger(__name__)


def drop_stages_after(encoder: Backbone, name: str) -> None:
    """Remove what ``encoder`` computes after its map ``name``, in place.

    A backbone of another class than Detectron2's stays whole; that is logged.
    """
    found = encoder.output_shape()
    later = [key for key, shape in found.items() if shape.stride > found[name].stride]
    if not later:
        return
    for kind, cut in _CUTS.items():
        if isinstance(encoder, kind):
            cut(encoder, name)
            encoder._out_features = [key for key in encoder._out_features if key not in later]
            return
    logger.warning(
        "%s has no stages that could be removed: it computes %s for nothing",
        type(encoder).__name__,
        ", ".join(later),
    )


def _cut_resnet(encoder: ResNet, name: str) -> None:
    count = encoder.stage_names.index(name) + 1
    for stage in encoder.stage_names[count:]:
        delattr(encoder, stage)
    encoder.stage_names, encoder.stages = encoder.stage_names[:count], encoder.stages[:count]


def _cut_regnet(encoder: RegNet, name: str) -> None:
    names = [stage for _, stage in encoder.stages_and_names]
    count = names.index(name) + 1 if name in names else 0  # "stem" is before them
    for stage in names[count:]:
        delattr(encoder, stage)
    encoder.stages_and_names = encoder.stages_and_names[:count]


def _cut_swin(encoder: SwinTransformer, name: str) -> None:
    last = int(name.removeprefix("p"))
    for i in encoder.out_indices:
        if i > last:
            delattr(encoder, f"norm{i}")
    encoder.out_indices = tuple(i for i in encoder.out_indices if i <= last)
    encoder.layers = encoder.layers[: last + 1]
    encoder.layers[last].downsample = None
    encoder.num_layers = last + 1


def _cut_mvit(encoder: MViT, name: str) -> None:
    last = int(name.removeprefix("scale")) - 2
    for stage in range(last + 1, len(encoder._last_block_indexes)):
        if hasattr(encoder, f"scale{stage + 2}_norm"):
            delattr(encoder, f"scale{stage + 2}_norm")
    encoder.blocks = encoder.blocks[: encoder._last_block_indexes[last] + 1]


def _cut_simple_pyramid(encoder: SimpleFeaturePyramid, name: str) -> None:
    # the ViT below has one resolution, and no stage to remove
    names = [f"p{stage.bit_length() - 1}" for stage in encoder._out_feature_strides.values()]
    count = names.index(name) + 1
    for level in names[count : len(encoder.stages)]:
        delattr(encoder, f"simfp_{level.removeprefix('p')}")
    encoder.stages = encoder.stages[:count]
    encoder.top_block = None


_CUTS = {
    ResNet: _cut_resnet,
    RegNet: _cut_regnet,
    SwinTransformer: _cut_swin,
    MViT: _cut_mvit,
    SimpleFeaturePyramid: _cut_simple_pyramid,
}
