import pytest
import torch
from torch import nn

from maskrcnnpp.modeling.nested_grid import (
    NestedGrid,
    node_inputs,
    outer_diagonal,
    required_nodes,
)


def conv_node(in_channels, out_channels):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU())


def encoder_maps(channels, size):
    """Maps of a stride-2 encoder: each row is half the one above, rounded up."""
    maps = []
    for c in channels:
        maps.append(torch.randn(2, c, size, size, requires_grad=True))
        size = (size + 1) // 2
    return maps


def test_inputs_of_a_node_are_those_of_the_paper():
    assert node_inputs((0, 3), "dense") == [(0, 0), (0, 1), (0, 2), (1, 2)]
    assert node_inputs((0, 3), "adjacent") == [(0, 2), (1, 2)]
    assert node_inputs((0, 3), "ensemble") == [(0, 0), (1, 2)]
    assert node_inputs((2, 0), "dense") == []


def test_the_fine_row_can_have_its_last_node_alone():
    assert node_inputs((0, 3), "dense", "last") == [(0, 0), (1, 2)]
    assert node_inputs((1, 2), "dense", "last") == [(1, 0), (1, 1), (2, 1)]
    grid = NestedGrid(row_channels=[4, 6, 8], make_node=conv_node, fine_row="last", depths=[2])
    assert grid.nodes == [(1, 1), (0, 2)]
    maps = encoder_maps([4, 6, 8], 16)
    x02 = grid.x_0_2(
        torch.cat(
            [
                maps[0],
                grid._up(
                    (0, 2),
                    grid.x_1_1(
                        torch.cat([maps[1], grid._up((1, 1), maps[2], maps[1].shape[-2:])], dim=1)
                    ),
                    maps[0].shape[-2:],
                ),
            ],
            dim=1,
        )
    )
    assert torch.equal(grid(maps, [(0, 2)])[0, 2], x02)


@pytest.mark.parametrize("connections", ["dense", "adjacent"])
def test_a_depth_needs_the_whole_triangle_above_it(connections):
    nodes = required_nodes(outer_diagonal(2), connections)
    assert sorted(nodes) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]


def test_an_ensemble_member_needs_its_own_decoder_only():
    nodes = required_nodes(outer_diagonal(3), "ensemble")
    assert sorted(n for n in nodes if n[1] > 0) == [(0, 3), (1, 2), (2, 1)]


def test_every_node_comes_after_its_inputs():
    order = required_nodes([(0, 4)], "dense")
    for position, node in enumerate(order):
        assert all(order.index(source) < position for source in node_inputs(node, "dense"))


@pytest.mark.parametrize("connections", ["dense", "adjacent", "ensemble"])
def test_gradients_reach_every_node_and_every_encoder_map(connections):
    channels = [4, 6, 8, 10]
    grid = NestedGrid(row_channels=channels, make_node=conv_node, connections=connections)
    maps = encoder_maps(channels, 16)
    wanted = [node for depth in (1, 2, 3) for node in outer_diagonal(depth)]
    sum(x.sum() for x in grid(maps, wanted).values()).backward()
    assert len(grid.nodes) == 6
    for name, parameter in grid.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(x.grad.abs().sum() > 0 for x in maps)


def test_the_deepest_node_alone_uses_the_whole_dense_grid():
    grid = NestedGrid(row_channels=[4, 4, 4], make_node=conv_node)
    grid(encoder_maps([4, 4, 4], 8), [(0, 2)])[0, 2].sum().backward()
    assert all(p.grad is not None for p in grid.parameters())


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", range(33, 130))
def test_any_size_goes_through(size, upsample):
    channels = [2, 3, 4, 5]
    grid = NestedGrid(row_channels=channels, make_node=conv_node, upsample=upsample)
    maps = encoder_maps(channels, size)
    for (row, _), x in grid(maps, outer_diagonal(3)).items():
        assert x.shape == maps[row].shape


def test_only_the_needed_nodes_are_computed():
    grid = NestedGrid(row_channels=[4, 4, 4, 4], make_node=conv_node)
    computed = []
    for name, module in grid.named_children():
        module.register_forward_hook(lambda *_, name=name: computed.append(name))
    grid(encoder_maps([4, 4, 4, 4], 16), outer_diagonal(2))
    assert sorted(computed) == ["x_0_1", "x_0_2", "x_1_1"]


def test_only_the_needed_nodes_exist():
    grid = NestedGrid(row_channels=[4, 4, 4], make_node=conv_node, depths=[1])
    assert grid.nodes == [(0, 1)]


def test_a_shallow_grid_is_part_of_a_deep_one():
    channels = [4, 6, 8, 10]
    deep = NestedGrid(row_channels=channels, make_node=conv_node)
    shallow = NestedGrid(row_channels=channels[:2], make_node=conv_node)
    missing, unexpected = shallow.load_state_dict(deep.state_dict(), strict=False)
    assert not missing and unexpected
    maps = encoder_maps(channels, 16)
    assert torch.equal(shallow(maps[:2], [(0, 1)])[0, 1], deep(maps, [(0, 1)])[0, 1])


def test_a_node_is_the_equation_of_the_paper():
    grid = NestedGrid(row_channels=[2, 2, 2], make_node=conv_node)
    x0, x1, x2 = encoder_maps([2, 2, 2], 8)

    def up(x):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    x01 = grid.x_0_1(torch.cat([x0, up(x1)], dim=1))
    x11 = grid.x_1_1(torch.cat([x1, up(x2)], dim=1))
    x02 = grid.x_0_2(torch.cat([x0, x01, up(x11)], dim=1))
    assert torch.equal(grid([x0, x1, x2], [(0, 2)])[0, 2], x02)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"connections": "sparse"}, "connections"),
        ({"upsample": "cubic"}, "upsample"),
        ({"fine_row": "first"}, "fine_row"),
        ({"depths": [3]}, "depths"),
        ({"depths": [0]}, "depths"),
        ({"depths": []}, "depths"),
    ],
)
def test_impossible_arguments_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        NestedGrid(row_channels=[4, 4, 4], make_node=conv_node, **arguments)
