"""Detectron2's backbones without what a grid of smaller depth, or of fewer rows, does not need."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from detectron2.modeling.backbone import (
    Backbone,
    MViT,
    RegNet,
    ResNet,
    SimpleFeaturePyramid,
    SwinTransformer,
)

logger = logging.getLogger(__name__)


def keep_maps(encoder: Backbone, maps: Sequence[str]) -> None:
    """Remove what ``encoder`` computes for none of ``maps``, in place.

    These are the stages after the last of them, and norms and projections of other maps. A backbone
    of another class than Detectron2's stays whole; that is logged where it costs stages.
    """
    found = encoder.output_shape()
    if set(found) == set(maps):
        return
    for kind, cut in _CUTS.items():
        if isinstance(encoder, kind):
            encoder._out_features = cut(encoder, [key for key in found if key in maps])
            return
    last = max(found[key].stride for key in maps)
    later = [key for key, shape in found.items() if shape.stride > last]
    if later:
        logger.warning(
            "%s has no stages that could be removed: it computes %s for nothing",
            type(encoder).__name__,
            ", ".join(later),
        )


def _cut_resnet(encoder: ResNet, maps: list[str]) -> list[str]:
    count = _number_of_stages(list(encoder.stage_names), maps)
    for stage in encoder.stage_names[count:]:
        delattr(encoder, stage)
    encoder.stage_names, encoder.stages = encoder.stage_names[:count], encoder.stages[:count]
    return maps


def _cut_regnet(encoder: RegNet, maps: list[str]) -> list[str]:
    names = [stage for _, stage in encoder.stages_and_names]
    count = _number_of_stages(names, maps)
    for stage in names[count:]:
        delattr(encoder, stage)
    encoder.stages_and_names = encoder.stages_and_names[:count]
    return maps


def _number_of_stages(names: list[str], maps: list[str]) -> int:
    """Number of stages up to the last of ``maps``; "stem" is before them."""
    return max(names.index(key) + 1 if key in names else 0 for key in maps)


def _cut_swin(encoder: SwinTransformer, maps: list[str]) -> list[str]:
    kept = [i for i in encoder.out_indices if f"p{i}" in maps]
    for i in set(encoder.out_indices) - set(kept):
        delattr(encoder, f"norm{i}")
    encoder.out_indices = tuple(kept)
    encoder.num_layers = max(kept) + 1
    encoder.layers = encoder.layers[: encoder.num_layers]
    encoder.layers[-1].downsample = None
    return maps


def _cut_mvit(encoder: MViT, maps: list[str]) -> list[str]:
    for key in set(encoder._out_features) - set(maps):
        delattr(encoder, f"{key}_norm")
    last = max(int(key.removeprefix("scale")) for key in maps)
    encoder.blocks = encoder.blocks[: encoder._last_block_indexes[last - 2] + 1]
    return maps


def _cut_simple_pyramid(encoder: SimpleFeaturePyramid, maps: list[str]) -> list[str]:
    # the ViT below has one resolution, and no stage to remove
    levels, count = list(encoder.output_shape()), len(encoder.stages)
    for level in set(levels[:count]) - set(maps):
        delattr(encoder, f"simfp_{level.removeprefix('p')}")
    encoder.stages = [x for x, level in zip(encoder.stages, levels) if level in maps]
    if set(levels[count:]) & set(maps):
        return [level for level in levels[:count] if level in maps] + levels[count:]
    encoder.top_block = None
    return maps


_CUTS = {
    ResNet: _cut_resnet,
    RegNet: _cut_regnet,
    SwinTransformer: _cut_swin,
    MViT: _cut_mvit,
    SimpleFeaturePyramid: _cut_simple_pyramid,
}
