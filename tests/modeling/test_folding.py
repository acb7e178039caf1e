import copy

import pytest
import torch
from torch import nn

from maskrcnnpp.modeling.folding import fold_norms


class Network(nn.Module):
    """Convolution, norm and a pre-activated norm; as a list of one map."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return [self.layers(x)]


def randomized(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return network


def layers(bias=False, groups=1, **kwargs):
    return [
        nn.Conv2d(3, 6, 3, padding=1, bias=bias, groups=groups if groups == 1 else 3, **kwargs),
        nn.Identity(),
        nn.BatchNorm2d(6),
        nn.ReLU(),
    ]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("training", [False, True])
def test_results_gradients_and_statistics_stay(bias, groups, training):
    network = randomized(Network(*layers(bias, groups)))
    folded = copy.deepcopy(network)
    assert fold_norms(folded, 3) == 1
    assert folded.state_dict().keys() == network.state_dict().keys()
    image = torch.randn(2, 3, 9, 12)
    for x in (network, folded):
        x.train(training)
        x(image)[0].square().mean().backward()
    torch.testing.assert_close(folded(image), network(image))
    for name, ours, theirs in zip(
        network.state_dict(), folded.parameters(), network.parameters(), strict=False
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=name)
    for ours, theirs in zip(folded.buffers(), network.buffers()):
        torch.testing.assert_close(ours, theirs)


def test_a_copy_has_weights_of_its_own():
    network = randomized(Network(*layers()))
    fold_norms(network, 3)
    image = torch.randn(1, 3, 8, 8)
    before = network.eval()(image)[0]
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.layers[0].weight.zero_()
    assert torch.equal(network(image)[0], before)
    assert not torch.equal(other(image)[0], before)


class Swapped(Network):
    """Its norm stands behind the convolution, and is applied before it."""

    def forward(self, x):
        conv, norm = self.layers
        return [conv(norm(x))]


@pytest.mark.parametrize(
    "network",
    [
        Swapped(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)),
        Network(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6)),
        Network(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False)),
        Network(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6)),
        Network(nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6)),
    ],
)
def test_what_cannot_be_folded_is_left_alone(network):
    expected = copy.deepcopy(randomized(network)).eval()
    assert fold_norms(network, 3) == 0
    image = torch.randn(1, 3, 9, 9)
    assert torch.equal(network.eval()(image)[0], expected(image)[0])


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (7, 129)])
def test_padding_of_tensorflow(size):
    timm = pytest.importorskip("timm")
    network = randomized(timm.create_model("tf_mobilenetv3_small_minimal_100", features_only=True))
    folded = copy.deepcopy(network)
    assert fold_norms(folded, 3) > 20
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        for ours, theirs in zip(folded.eval()(image), network.eval()(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
