"""Loss of one deep-supervision head: of masks of objects, and of semantic segmentation."""

from __future__ import annotations

from typing import NamedTuple

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


class ClassGroups(NamedTuple):
    """Semantic predictions and their truth, in groups of which each pixel has one class.

    Several classes that exclude each other are one group of them all; a class that may overlap
    with others is a group of two, itself and all that it is not.
    """

    log_p: torch.Tensor  #: logarithms of probabilities, (N, groups, classes, H, W)
    truth: torch.Tensor  #: 0 or 1, of the same shape
    counted: torch.Tensor  #: 0 for pixels to ignore, else 1; (N, 1, 1, H, W)
    foreground: slice  #: of the classes of a group, those that Dice is of

    @classmethod
    def exclusive(
        cls, logits: torch.Tensor, labels: torch.Tensor, is_counted: torch.Tensor
    ) -> ClassGroups:
        """
        Args:
            logits: (N, C, H, W).
            labels: (N, H, W), 0..C-1.
            is_counted: (N, H, W).
        """
        truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        counted = is_counted[:, None, None].to(logits.dtype)
        return cls(logits.log_softmax(dim=1)[:, None], truth[:, None], counted, slice(None))

    @classmethod
    def independent(
        cls, logits: torch.Tensor, members: torch.Tensor, is_counted: torch.Tensor
    ) -> ClassGroups:
        """
        Args:
            logits: (N, C, H, W).
            members: of the same shape; 1 where a pixel is of a class, else 0.
            is_counted: (N, H, W).
        """
        log_p = torch.stack([F.logsigmoid(logits), F.logsigmoid(-logits)], dim=2)
        counted = is_counted[:, None, None].to(logits.dtype)
        return cls(log_p, torch.stack([members, 1 - members], dim=2), counted, slice(0, 1))

    def cross_entropy(self) -> torch.Tensor:
        """Mean over pixels, sum over groups."""
        of_pixel = (self.truth * self.log_p * self.counted).sum(dim=(1, 2))
        return -of_pixel.sum() / self.counted.sum().clamp(min=1)

    def dice(self, power: int) -> torch.Tensor:
        """Soft Dice coefficient of each image, group and foreground class, with p^power below."""
        p = (self.log_p.exp() * self.counted)[:, :, self.foreground]
        y = (self.truth * self.counted)[:, :, self.foreground]
        overlap = 2 * (y * p).sum(dim=(-2, -1))
        # an image without the class, predicted as such, has overlap 0 of total 0
        return (overlap + 1) / ((y + p.pow(power)).sum(dim=(-2, -1)) + 1)


def semantic_cross_entropy(grouped: ClassGroups) -> torch.Tensor:
    """Cross-entropy alone."""
    return grouped.cross_entropy()


def semantic_cross_entropy_dice(grouped: ClassGroups) -> torch.Tensor:
    """Cross-entropy plus :func:`soft_dice_loss` of each class of each image."""
    return grouped.cross_entropy() + (1 - grouped.dice(power=2)).mean()


def unetpp_2018_loss(grouped: ClassGroups) -> torch.Tensor:
    """DLMIA 2018: half the cross-entropy, and 2 Y P / (Y + P) of each image as a whole.

    As a loss that is 0 for a perfect prediction.
    """
    return grouped.cross_entropy() / 2 + (1 - grouped.dice(power=1)).mean()


def unetpp_2019_loss(grouped: ClassGroups) -> torch.Tensor:
    """IEEE TMI 2019: -1/N sum_c sum_n (y log p + 2 y p / (y^2 + p^2)), pixel by pixel.

    Of a class that stands alone, what it is not is a class too: the sum over one class alone would
    be least where every pixel is of it. 1 is added for each group, which makes a perfect
    prediction 0.
    """
    p = grouped.log_p.exp()
    ratio = 2 * grouped.truth * p / (grouped.truth + p.square()).clamp(min=1e-12)
    of_pixel = ((ratio.sum(dim=2, keepdim=True) - 1) * grouped.counted).sum(dim=(1, 2))
    return grouped.cross_entropy() - of_pixel.sum() / grouped.counted.sum().clamp(min=1)


#: Losses of a semantic head by the name the config knows them by.
SEMANTIC_LOSSES = {
    "cross_entropy": semantic_cross_entropy,
    "cross_entropy_dice": semantic_cross_entropy_dice,
    "unetpp_2018": unetpp_2018_loss,
    "unetpp_2019": unetpp_2019_loss,
}
