"""Boxes in which masks are looked for, wider than those of objects; boxes and scores of masks."""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, Instances
from torchvision.ops import roi_align


def widened(boxes: torch.Tensor, margin: float) -> torch.Tensor:
    """Boxes (N, 4) with a part of their sides added on each side; they may leave the image."""
    if not margin:
        return boxes
    added = margin * (boxes[:, 2:] - boxes[:, :2])
    return torch.cat([boxes[:, :2] - added, boxes[:, 2:] + added], dim=1)


def with_wider_boxes(proposals: Instances, margin: float) -> Instances:
    """A copy of proposals whose ``proposal_boxes`` are :func:`widened`."""
    changed = Instances(proposals.image_size, **proposals.get_fields())
    changed.proposal_boxes = Boxes(widened(proposals.proposal_boxes.tensor, margin))
    return changed


def boxes_of_masks(boxes: torch.Tensor, wider: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The box of each mask; of one without any probability of at least .5 the object's.

    Args:
        boxes: of objects, pixels, shape (N, 4).
        wider: of their masks.
        masks: probabilities, shape (N, 1, M, M).
    """
    x0, x1 = _extent(masks.amax(dim=2)[:, 0])
    y0, y1 = _extent(masks.amax(dim=3)[:, 0])
    cell = (wider[:, 2:] - wider[:, :2]) / int(masks.shape[-1])
    extent = torch.stack([x0, y0, x1, y1], dim=1).to(boxes.dtype) * cell.repeat(1, 2)
    has_pixels = (masks.amax(dim=(1, 2, 3)) >= 0.5)[:, None]
    return torch.where(has_pixels, wider[:, :2].repeat(1, 2) + extent, boxes)


def masks_in_boxes(masks: torch.Tensor, boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Masks (N, 1, M, M) of boxes (N, 4), as they are in other boxes; 0 outside of theirs."""
    side = int(masks.shape[-1])
    cell = ((boxes[:, 2:] - boxes[:, :2]) / side).clamp(min=1e-6)
    inside = (others - boxes[:, :2].repeat(1, 2)) / cell.repeat(1, 2)
    numbers = torch.arange(masks.shape[0], device=masks.device, dtype=inside.dtype)[:, None]
    rois = torch.cat([numbers, inside], dim=1).to(masks.dtype)
    return roi_align(masks, rois, side, aligned=True)


def set_boxes_of_masks(instances: Instances, margin: float) -> None:
    """Let objects have the boxes of their masks, inside the image.

    Args:
        instances: with ``pred_boxes``, and the ``pred_masks`` of boxes that are wider by a margin.
    """
    boxes, masks = instances.pred_boxes.tensor, instances.pred_masks
    wider = widened(boxes, margin)
    instances.pred_boxes = Boxes(boxes_of_masks(boxes, wider, masks))
    instances.pred_boxes.clip(instances.image_size)
    instances.pred_masks = masks_in_boxes(masks, wider, instances.pred_boxes.tensor)


def mask_scores(scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Scores times the mean probability of each mask's pixels.

    Args:
        scores: of objects, 0..1, shape (N,).
        masks: probabilities, shape (N, 1, M, M). Pixels are those of at least .5, whatever the mask
            threshold of a prediction; a mask without any counts by its highest probability.
    """
    masks = masks.float()
    inside = masks >= 0.5
    pixels = inside.sum(dim=(1, 2, 3))
    mean = (masks * inside).sum(dim=(1, 2, 3)) / pixels.clamp(min=1)
    return scores * torch.where(pixels > 0, mean, masks.amax(dim=(1, 2, 3))).to(scores.dtype)


def scored_by_masks(instances: Instances) -> Instances:
    """Objects with ``pred_masks``, by falling :func:`mask_scores`; ``box_scores`` are as before."""
    instances.box_scores = instances.scores
    instances.scores = mask_scores(instances.scores, instances.pred_masks)
    return instances[instances.scores.argsort(descending=True, stable=True)]


def _extent(profile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where values (N, M) rise above one half first, and fall below it last; cells of 0..M.

    Between the middles of two cells values are interpolated, as where a mask is drawn.
    """
    side = int(profile.shape[1])
    is_inside = profile >= 0.5
    cells = torch.arange(side, device=profile.device, dtype=profile.dtype)

    def first(values: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        index = torch.where(inside, cells, side).amin(dim=1).clamp(max=side - 1)
        at = values.gather(1, index.long()[:, None])[:, 0]
        before = values.gather(1, (index - 1).clamp(min=0).long()[:, None])[:, 0]
        part = (0.5 - before) / (at - before).clamp(min=1e-6)
        edge = torch.where(index > 0, index - 0.5 + part, torch.zeros_like(part))
        return torch.where(inside.any(dim=1), edge, torch.zeros_like(edge))

    return first(profile, is_inside), side - first(profile.flip(1), is_inside.flip(1))
