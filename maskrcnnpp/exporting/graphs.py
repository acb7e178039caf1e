"""Models as functions of tensors alone, in a form that can be traced.

Detectron2's inference works image by image, so that a trace holds as many images as the example
had. These compute a batch as a whole, with the model's own layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import shapes_to_tensor
from detectron2.modeling import GeneralizedRCNN, SemanticSegmentor
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import nn

from maskrcnnpp.exporting.convolution import convolve_multiples
from maskrcnnpp.exporting.nms import NONE, suppress
from maskrcnnpp.modeling.depths import shallower_depths
from maskrcnnpp.modeling.folding import replace_same
from maskrcnnpp.modeling.mask_boxes import (
    boxes_of_masks,
    mask_scores,
    masks_in_boxes,
    widened,
)
from maskrcnnpp.modeling.mask_head import NestedROIHeads


class SemanticGraph(nn.Module):
    """Probabilities of a network of the U-Net family."""

    inputs = ("images",)
    outputs = ("probabilities",)

    def __init__(self, model: SemanticSegmentor) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        replace_same(self.model.backbone, convolve_multiples)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Args:
            images: float32 (N, channels, H, W), 0..255.

        Returns:
            float32 (N, classes, H, W), 0..1.
        """
        height, width = images.shape[-2:]
        features = self.model.backbone(_prepared(self.model, images))
        return self.model.sem_seg_head(features)[0][..., :height, :width]


class DetectorGraph(nn.Module):
    """Objects of a Mask R-CNN with Detectron2's RPN and box head, of a batch of images.

    The same objects as ``GeneralizedRCNN.inference(..., do_postprocess=False)``.
    """

    inputs = ("images", "score_threshold")
    outputs = ("boxes", "scores", "classes", "masks", "image_indices")

    def __init__(self, model: GeneralizedRCNN) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        if getattr(model.roi_heads, "score_masks", False):
            self.outputs = (*self.outputs, "box_scores")
        _replace_poolers(self.model)
        replace_same(self.model.backbone, convolve_multiples)

    def forward(
        self, images: torch.Tensor, score_threshold: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            images: float32 (N, channels, H, W), 0..255.
            score_threshold: float32 scalar: objects whose score is below are left out, their masks
                not computed. The model's own threshold (SCORE_THRESH_TEST) is applied too. Both
                are of the box head's scores.

        Returns:
            For D objects, by image and then by falling score of the box head: boxes float32
            (D, 4), x0, y0, x1, y1 in pixels of the image; scores float32 (D,); classes int64
            (D,), from 0; masks float32 (D, M, M), probabilities inside the box; image_indices
            int64 (D,), place in the batch. With SCORE_MASKS, ``scores`` are those of the masks,
            and box_scores float32 (D,) those of the box head.
        """
        width_height = shapes_to_tensor([images.shape[-1], images.shape[-2]])
        limits = torch.cat([width_height, width_height]).to(images)
        features = self.model.backbone(_prepared(self.model, images))
        proposals, valid = self._proposals(features, limits)
        boxes, scores, classes, indices = self._objects(
            features, proposals, valid, limits, score_threshold
        )
        margin = getattr(self.model.roi_heads, "mask_margin", 0.0)
        wider = widened(boxes, margin)
        masks = self._masks(features, _rois(indices, wider), classes)
        if margin:
            boxes = _clipped(boxes_of_masks(boxes, wider, masks[:, None]), limits)
            masks = masks_in_boxes(masks[:, None], wider, boxes)[:, 0]
        if "box_scores" in self.outputs:
            return boxes, mask_scores(scores, masks[:, None]), classes, masks, indices, scores
        return boxes, scores, classes, masks, indices

    def _proposals(
        self, features: Mapping[str, torch.Tensor], limits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The RPN's boxes (N, P, 4) and which of these P places of each image hold one (N, P)."""
        rpn = self.model.proposal_generator
        maps = [features[name] for name in rpn.in_features]
        logits, deltas = rpn.rpn_head(maps)
        boxes, scores = [], []
        for anchors, logit, delta in zip(rpn.anchor_generator(maps), logits, deltas):
            logit = logit.permute(0, 2, 3, 1).flatten(1)  # (N, anchors)
            delta = delta.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
            # the best are decoded, not all
            score, places = _top(logit, rpn.pre_nms_topk[False])
            delta = _taken(delta, places)
            box = rpn.box2box_transform.apply_deltas(
                delta.flatten(0, 1), anchors.tensor[places].flatten(0, 1)
            )
            box = _clipped(box.view_as(delta), limits)
            is_one = _is_finite(box) & _is_finite(score[..., None])
            is_one = is_one & (box[..., 2:] - box[..., :2] > rpn.min_box_size).all(dim=-1)
            score = score.masked_fill(~is_one, NONE)
            boxes.append(box)
            scores.append(suppress(box, score, rpn.nms_thresh))
        top, places = _top(torch.cat(scores, dim=1), rpn.post_nms_topk[False])
        return _taken(torch.cat(boxes, dim=1), places), top > NONE

    def _objects(
        self,
        features: Mapping[str, torch.Tensor],
        proposals: torch.Tensor,
        valid: torch.Tensor,
        limits: torch.Tensor,
        score_threshold: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Boxes, scores, classes and image indices of the objects, (D, ...)."""
        heads = self.model.roi_heads
        maps = [features[name] for name in heads.box_in_features]
        indices, places = torch.nonzero(valid, as_tuple=True)
        boxes = proposals[indices, places]
        stages = _stages(heads.box_head, heads.box_predictor)
        total: torch.Tensor | float = 0.0
        for head, predictor in stages:
            boxes = _clipped(boxes, limits)  # of the stage before
            pooled = heads.box_pooler(maps, _rois(indices, boxes))
            logits, deltas = predictor(head(pooled))
            is_sigmoid = predictor.use_sigmoid_ce
            total = total + (logits.sigmoid() if is_sigmoid else logits.softmax(dim=-1))
            boxes = predictor.box2box_transform.apply_deltas(deltas, boxes)
        scores = total * (1 / len(stages))
        boxes = _clipped(boxes.unflatten(1, (-1, 4)), limits)  # (R, classes or 1, 4)
        is_one = _is_finite(boxes.flatten(1)) & _is_finite(scores)
        scores = scores[:, :-1]  # the last is the background
        is_one = is_one[:, None] & (scores > predictor.test_score_thresh)
        # suppression takes none that has a higher score: what is left out can be so before it
        scores = scores.masked_fill(~(is_one & (scores >= score_threshold)), NONE)

        # again with a place for each proposal of each image: (N, classes, P)
        classes = scores.shape[1]
        by_place = scores.new_full((*proposals.shape[:2], classes), NONE)
        by_place = by_place.index_put((indices, places), scores).transpose(1, 2)
        boxes = boxes.expand(-1, classes, -1)
        boxes_by_place = boxes.new_zeros((*proposals.shape[:2], classes, 4))
        boxes_by_place = boxes_by_place.index_put((indices, places), boxes).transpose(1, 2)
        kept = suppress(
            boxes_by_place.flatten(0, 1), by_place.flatten(0, 1), predictor.test_nms_thresh
        )
        top, chosen = _top(kept.view_as(by_place).flatten(1), predictor.test_topk_per_image)
        indices, places = torch.nonzero(top > NONE, as_tuple=True)
        chosen = chosen[indices, places]
        found = boxes_by_place.flatten(1, 2)[indices, chosen]
        return found, top[indices, places], chosen // proposals.shape[1], indices

    def _masks(
        self, features: Mapping[str, torch.Tensor], rois: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Probabilities (D, M, M), the mean over depths in ensemble mode."""
        heads = self.model.roi_heads
        if isinstance(heads, NestedROIHeads):
            depths = (None, *shallower_depths(features))
            pooled = [heads._pool_masks(features, rois, depth) for depth in depths]
        else:
            pooled = [heads.mask_pooler([features[f] for f in heads.mask_in_features], rois)]
        masks = []
        for of_depth in pooled:
            logits = heads.mask_head.layers(of_depth)
            if logits.shape[1] > 1:
                places = classes[:, None, None, None].expand(-1, 1, *logits.shape[2:])
                logits = logits.gather(1, places)
            masks.append(logits[:, 0].sigmoid())
        return torch.stack(masks).mean(dim=0)


class _BatchPooler(nn.Module):
    """Detectron2's ROIPooler for boxes (R, 5) of a batch, image index first."""

    def __init__(self, pooler: ROIPooler) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, maps: Sequence[torch.Tensor], rois: torch.Tensor) -> torch.Tensor:
        pooler = self.pooler
        if len(pooler.level_poolers) == 1:
            return pooler.level_poolers[0](maps[0], rois)
        levels = assign_boxes_to_levels(
            [Boxes(rois[:, 1:])],
            pooler.min_level,
            pooler.max_level,
            pooler.canonical_box_size,
            pooler.canonical_level,
        )
        pooled = maps[0].new_zeros((rois.shape[0], maps[0].shape[1], *pooler.output_size))
        for level, (of_level, features) in enumerate(zip(pooler.level_poolers, maps)):
            (places,) = torch.nonzero(levels == level, as_tuple=True)
            pooled = pooled.index_put((places,), of_level(features, rois[places]))
        return pooled


def _replace_poolers(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ROIPooler):
            setattr(module, name, _BatchPooler(child))
        else:
            _replace_poolers(child)


def _prepared(model: GeneralizedRCNN | SemanticSegmentor, images: torch.Tensor) -> torch.Tensor:
    """Images as the backbone takes them: normalized, and filled up with zeros to its multiples."""
    images = (images - model.pixel_mean) / model.pixel_std
    multiple = max(model.backbone.size_divisibility, 1)
    height, width = images.shape[-2:]
    missing = [(size + multiple - 1) // multiple * multiple - size for size in (width, height)]
    return F.pad(images, [0, missing[0], 0, missing[1]])


def _stages(head: nn.Module, predictor: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Box heads and their predictors: several of a cascade."""
    return (
        list(zip(head, predictor)) if isinstance(predictor, nn.ModuleList) else [(head, predictor)]
    )


def _rois(indices: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([indices[:, None].to(boxes), boxes], dim=1)


def _clipped(boxes: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    return boxes.clamp(min=0).minimum(limits)


def _is_finite(values: torch.Tensor) -> torch.Tensor:
    """Whether all along the last axis are neither infinite nor NaN."""
    return values.abs().sum(dim=-1) < float("inf")


def _top(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Up to ``count`` highest scores of each row and their places; all below 0."""
    there = shapes_to_tensor([scores.shape[1]])
    return scores.topk(there[0].clamp(max=count) if count >= 0 else there[0], dim=1)


def _taken(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(N, K, 4) at ``places`` (N, P)."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))
