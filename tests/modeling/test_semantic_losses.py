import math

import pytest
import torch

from maskrcnnpp.modeling.losses import (
    SEMANTIC_LOSSES,
    ClassGroups,
    unetpp_2018_loss,
    unetpp_2019_loss,
)


def one_class(logits, members, counted=None):
    counted = torch.ones_like(members[:, 0], dtype=torch.bool) if counted is None else counted
    return ClassGroups.independent(logits, members, counted)


@pytest.fixture
def case():
    logits = torch.randn(2, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, 2, (2, 1, 5, 4)).double()


def test_2019_is_the_papers_sum_over_classes_and_pixels(case):
    logits, members = case
    total = 0.0
    for x, y in zip(logits.flatten().tolist(), members.flatten().tolist()):
        p = 1 / (1 + math.exp(-x))
        for y_c, p_c in ((y, p), (1 - y, 1 - p)):  # the class, and all that it is not
            total -= y_c * math.log(p_c) + 2 * y_c * p_c / (y_c**2 + p_c**2)
    expected = total / members.numel() + 1
    assert unetpp_2019_loss(one_class(logits, members)).item() == pytest.approx(expected)


def test_2018_is_half_the_cross_entropy_and_dice_of_each_image(case):
    logits, members = case
    cross_entropy, dice = 0.0, []
    for image, truth in zip(logits, members):
        p = image.sigmoid()
        ratio = (2 * (truth * p).sum() + 1) / (truth.sum() + p.sum() + 1)
        dice.append(1 - ratio.item())
        for x, y in zip(p.flatten().tolist(), truth.flatten().tolist()):
            cross_entropy -= math.log(x if y else 1 - x)
    expected = cross_entropy / members.numel() / 2 + sum(dice) / 2
    assert unetpp_2018_loss(one_class(logits, members)).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(SEMANTIC_LOSSES))
def test_a_perfect_prediction_has_no_loss_and_a_wrong_one_has(name):
    members = torch.randint(0, 2, (2, 3, 8, 8)).float()
    loss = SEMANTIC_LOSSES[name]
    assert loss(one_class(60 * members - 30, members)) == pytest.approx(0, abs=1e-6)
    assert loss(one_class(30 - 60 * members, members)) > 1


@pytest.mark.parametrize("name", sorted(SEMANTIC_LOSSES))
def test_everything_foreground_is_not_the_best(name):
    members = torch.zeros(1, 1, 8, 8)
    members[..., :2] = 1
    loss = SEMANTIC_LOSSES[name]
    all_of_it, right = torch.full_like(members, 9.0), 18 * members - 9
    assert loss(one_class(all_of_it, members)) > loss(one_class(right, members)) + 0.1


@pytest.mark.parametrize("name", sorted(SEMANTIC_LOSSES))
def test_pixels_that_do_not_count_change_nothing(name):
    logits, members = torch.randn(1, 1, 6, 6), torch.randint(0, 2, (1, 1, 6, 6)).float()
    counted = torch.ones(1, 6, 6, dtype=torch.bool)
    counted[0, 3:] = False
    other = logits.clone()
    other[:, :, 3:] += 5
    members_too = members.clone()
    members_too[:, :, 3:] = 1 - members_too[:, :, 3:]
    loss = SEMANTIC_LOSSES[name]
    first, second = one_class(logits, members, counted), one_class(other, members_too, counted)
    torch.testing.assert_close(loss(first), loss(second))


def test_cross_entropy_is_pytorchs():
    logits, labels = torch.randn(2, 4, 6, 5), torch.randint(0, 4, (2, 6, 5))
    counted = torch.ones(2, 6, 5, dtype=torch.bool)
    found = SEMANTIC_LOSSES["cross_entropy"](ClassGroups.exclusive(logits, labels, counted))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, labels))
    members = torch.randint(0, 2, (2, 4, 6, 5)).float()
    found = SEMANTIC_LOSSES["cross_entropy"](ClassGroups.independent(logits, members, counted))
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, members)
    torch.testing.assert_close(found, 4 * each)  # summed over classes
