"""Embedded training: one network that detects at every depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import EventStorage, get_event_storage

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.depths import (
    deep_supervision_config,
    refuse_batch_norm,
    split_depths,
)


@META_ARCH_REGISTRY.register()
class EmbeddedRCNN(GeneralizedRCNN):
    """Detectron2's GeneralizedRCNN whose heads learn on the pyramid of every depth.

    In each iteration RPN, box head and mask head are trained on the full pyramid and then on that
    of one shallower depth, which the nested backbone hands on in turn (all of them, with "ensemble"
    connections), with proposals of its own and a part of the RoIs.
    After that the network can be pruned to any depth (UNet++, IEEE TMI 2019: embedded training).
    Encoder and grid run once; losses of depth d end in ``_d{d}``.

    At inference it is GeneralizedRCNN.
    """

    trains_every_depth = True

    @configurable
    def __init__(
        self, *, shallow_weights: Sequence[float], shallow_roi_fraction: float = 1.0, **kwargs: Any
    ) -> None:
        """
        Args:
            shallow_weights: weight of all losses of depth 1, 2, ... relative to the full depth's.
            shallow_roi_fraction: RoIs that the shallower depth samples, as a part of those that
                the full depth does, 0..1.
            kwargs: those of :class:`detectron2.modeling.GeneralizedRCNN`.
        """
        super().__init__(**kwargs)
        if getattr(self.backbone, "extra_depths_in_training", ()):
            refuse_batch_norm(self.proposal_generator, "NORM of MODEL.RPN")
            refuse_batch_norm(self.roi_heads, "NORM of MODEL.ROI_BOX_HEAD or MODEL.ROI_MASK_HEAD")
        self._shallow_weights = tuple(shallow_weights)
        self._shallow_roi_fraction = shallow_roi_fraction

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        if cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
            raise ConfigError(
                "MODEL.PROPOSAL_GENERATOR.NAME is PrecomputedProposals; EmbeddedRCNN proposes anew "
                "at every depth: set it to RPN"
            )
        ret = super().from_config(cfg)
        deep = deep_supervision_config(cfg)
        ret.update(shallow_weights=deep.WEIGHTS, shallow_roi_fraction=deep.ROI_FRACTION)
        return ret

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """As GeneralizedRCNN's; in training with the losses of one depth more."""
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        truth = [x["instances"].to(self.device) for x in batched_inputs]
        pyramids = split_depths(self.backbone(images.tensor))
        storage = get_event_storage()
        losses, proposals = self._losses(images, pyramids[None], truth)
        if self.vis_period > 0 and storage.iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        for depth, features in pyramids.items():
            if depth is None:
                continue
            # what the heads log is the full depth's: a storage of their own takes the rest
            with EventStorage(storage.iter), self._fewer_rois():
                of_depth, _ = self._losses(images, features, truth)
            weight = self._shallow_weights[depth - 1]
            losses.update({f"{name}_d{depth}": weight * x for name, x in of_depth.items()})
        return losses

    @contextmanager
    def _fewer_rois(self) -> Iterator[None]:
        usual = self.roi_heads.batch_size_per_image
        self.roi_heads.batch_size_per_image = math.ceil(usual * self._shallow_roi_fraction)
        try:
            yield
        finally:
            self.roi_heads.batch_size_per_image = usual

    def _losses(
        self, images: ImageList, features: dict[str, torch.Tensor], truth: list[Instances]
    ) -> tuple[dict[str, torch.Tensor], list[Instances]]:
        proposals, of_proposals = self.proposal_generator(images, features, truth)
        _, of_rois = self.roi_heads(images, features, proposals, truth)
        return {**of_rois, **of_proposals}, proposals
