"""Loss of one deep-supervision head."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def soft_dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """One minus the soft Dice coefficient of each mask, averaged over masks.

    The second term of the UNet++ loss, 2 y p / (y^2 + p^2) (IEEE TMI 2019), with the sums over
    the pixels of a mask taken in numerator and denominator (Milletari et al., V-Net), and
    written as a loss in 0..1.

    Args:
        logits: shape (B, H, W), B >= 1.
        targets: shape (B, H, W), in 0..1.
    """
    probabilities = logits.sigmoid().flatten(1)
    targets = targets.flatten(1)
    overlap = 2 * (probabilities * targets).sum(dim=1)
    total = probabilities.square().sum(dim=1) + targets.square().sum(dim=1)
    # a mask without foreground, predicted as such, has overlap 0 of total 0: no loss
    return (1 - (overlap + 1) / (total + 1)).mean()


def cross_entropy_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over pixels: the mask loss of Detectron2.

    Args:
        logits, targets: as for :func:`soft_dice_loss`.
    """
    return F.binary_cross_entropy_with_logits(logits, targets)


def cross_entropy_dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice, the loss of one UNet++ head (IEEE TMI 2019)."""
    return cross_entropy_loss(logits, targets) + soft_dice_loss(logits, targets)


#: Losses of a mask head by the name the config knows them by.
MASK_LOSSES = {
    "cross_entropy": cross_entropy_loss,
    "cross_entropy_dice": cross_entropy_dice_loss,
}
