import pytest
import torch
from detectron2.modeling import build_model
from semantic_config import MODE, ROWS, WEIGHTS, grid, head, unet_cfg

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.nested_grid import node_inputs
from maskrcnnpp.modeling.pruning import pruned_config, pruned_weights

PAPER_ROWS = [32, 64, 128, 256, 512]


def parameters(*opts, rows=PAPER_ROWS):
    return sum(x.numel() for x in build_model(unet_cfg(*opts, rows=rows)).parameters())


@pytest.mark.parametrize(
    ("connections", "depth", "count"),
    [
        ("plain", 1, 100_961),
        ("plain", 2, 465_953),
        ("plain", 3, 1_925_025),
        ("plain", 4, 7_759_521),
        ("dense", 1, 100_961),
        ("dense", 2, 511_105),
        ("dense", 3, 2_204_961),
        ("dense", 4, 9_041_601),
        ("adjacent", 4, 8_728_257),
    ],
)
def test_parameters_are_those_of_the_papers(connections, depth, count):
    assert parameters(grid("CONNECTIONS"), connections, grid("DEPTH"), depth) == count


def test_parameters_of_the_wide_unet():
    assert parameters(grid("CONNECTIONS"), "plain", rows=[35, 70, 140, 280, 560]) == 9_282_246


def test_each_further_head_adds_33_parameters():
    assert parameters(WEIGHTS, [1.0, 1.0, 1.0]) == 9_041_601 + 3 * 33


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_depths_one_to_five(depth):
    model = build_model(unet_cfg(grid("DEPTH"), depth, rows=[*ROWS, 128])).eval()
    assert model([{"image": torch.zeros(1, 64, 64)}])[0]["sem_seg"].shape == (1, 64, 64)


@pytest.mark.parametrize("connections", ["plain", "adjacent", "dense", "ensemble"])
def test_nodes_equal_those_of_monai_with_the_same_weights(connections):
    """MONAI's blocks, wired by the papers' equations; its own networks differ in the top row."""
    from monai.networks.nets.basic_unet import Down, TwoConv, UpCat

    how = {"act": ("relu", {}), "norm": None, "bias": True}
    supervised = [1.0] * 3 if connections == "ensemble" else []
    backbone = build_model(unet_cfg(grid("CONNECTIONS"), connections, WEIGHTS, supervised)).backbone

    def copy_convolutions(theirs, ours):
        for block, conv in zip((theirs.conv_0, theirs.conv_1), ours, strict=True):
            block.conv.load_state_dict(conv.state_dict())

    image = torch.randn(2, 1, 64, 48)
    maps = {}
    for row, width in enumerate(ROWS):
        ours = backbone.bottom_up.get_submodule(f"x_{row}_0")
        if row == 0:
            block = TwoConv(2, 1, width, **how)
            copy_convolutions(block, ours)
        else:
            block = Down(2, ROWS[row - 1], width, **how)
            copy_convolutions(block.convs, ours)
        maps[row, 0] = block(maps[row - 1, 0] if row else image)
    for row, column in backbone.grid.nodes:
        *left, below = node_inputs((row, column), connections)
        block = UpCat(2, ROWS[row + 1], len(left) * ROWS[row], ROWS[row], upsample="deconv", **how)
        copy_convolutions(block.convs, backbone.grid.get_submodule(f"x_{row}_{column}"))
        up = backbone.grid.get_submodule(f"up_{row}_{column}")
        block.upsample.deconv.load_state_dict(up.state_dict())
        maps[row, column] = block(maps[below], torch.cat([maps[node] for node in left], dim=1))
    found = backbone(image)  # in training: of every supervised depth
    assert len(found) == 1 + len(supervised)
    for name, x in found.items():
        torch.testing.assert_close(x, maps[0, int(name[-1])], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("size", range(33, 130))
def test_any_size_is_padded_and_cut_back(size):
    model = build_model(unet_cfg(rows=[2, 2, 2, 2, 2])).eval()
    image = torch.rand(1, size, 162 - size) * 255
    with torch.no_grad():
        found = model([{"image": image}])[0]["sem_seg"]
        padded = torch.full((1, -(-size // 16) * 16, -(-(162 - size) // 16) * 16), 127.5)
        padded[:, :size, : 162 - size] = image
        whole = model([{"image": padded}])[0]["sem_seg"]
    assert found.shape == (1, size, 162 - size)
    torch.testing.assert_close(found, whole[:, :size, : 162 - size], atol=1e-5, rtol=0)


@pytest.mark.parametrize("connections", ["dense", "adjacent", "ensemble"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_cut_gives_bit_for_bit_what_its_head_gave(connections, depth):
    cfg = unet_cfg(grid("CONNECTIONS"), connections, WEIGHTS, [1.0, 1.0, 1.0])
    full = build_model(cfg).eval()
    cut = build_model(pruned_config(cfg, depth)).eval()
    weights = pruned_weights(cfg, full.state_dict(), depth)
    cut.load_state_dict(weights, strict=True)
    batch = [{"image": torch.rand(1, 50, 70) * 255}]
    full.backbone.depth = depth
    with torch.no_grad():
        assert torch.equal(cut(batch)[0]["sem_seg"], full(batch)[0]["sem_seg"])
    assert not any(f"x_{row}_" in name for name in weights for row in range(depth + 1, 5))


def test_a_cut_has_the_parameters_of_the_papers_depth():
    cfg = unet_cfg(WEIGHTS, [1.0, 1.0, 1.0], rows=PAPER_ROWS)
    weights = pruned_weights(cfg, build_model(cfg).state_dict(), 3)
    assert sum(x.numel() for x in weights.values()) == 2_204_961


def test_only_the_nodes_of_the_depth_are_computed():
    cfg = unet_cfg(grid("CONNECTIONS"), "ensemble", WEIGHTS, [1.0, 1.0, 1.0])
    model = build_model(cfg).eval()
    computed = []
    for name, module in model.backbone.grid.named_children():
        module.register_forward_hook(lambda *_, name=name: computed.append(name))
    model([{"image": torch.zeros(1, 32, 32)}])
    assert sorted(x for x in computed if x[0] == "x") == ["x_0_4", "x_1_3", "x_2_2", "x_3_1"]


def test_an_ensemble_is_the_mean_of_the_heads():
    cfg = unet_cfg(WEIGHTS, [1.0, 1.0, 1.0], MODE, "ensemble")
    model = build_model(cfg).eval()
    batch = [{"image": torch.rand(1, 32, 32) * 255}]
    with torch.no_grad():
        found = model(batch)[0]["sem_seg"]
        each = []
        model.backbone.extra_depths_at_inference = ()
        for depth in (1, 2, 3, 4):
            model.backbone.depth = depth
            each.append(model(batch)[0]["sem_seg"])
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_every_parameter_learns(activation):
    cfg = unet_cfg(WEIGHTS, [1.0, 0.5, 1.0], head("ACTIVATION"), activation)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    model = build_model(cfg)
    labels = torch.randint(0, 3, (2, 40, 40))
    labels[0] = 255  # an image of which nothing counts
    batch = [{"image": torch.rand(1, 40, 40) * 255, "sem_seg": x} for x in labels]
    losses = model(batch)
    assert set(losses) == {"loss_sem_seg", *(f"loss_sem_seg_d{d}" for d in (1, 2, 3))}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert model.sem_seg_head.predictor_2.weight.grad.abs().sum() > 0


def test_where_nothing_counts_nothing_is_learned():
    model = build_model(unet_cfg(head("DEEP_SUPERVISION.LOSS"), "unetpp_2019"))
    batch = [{"image": torch.zeros(1, 32, 32), "sem_seg": torch.full((32, 32), 255)}]
    loss = model(batch)["loss_sem_seg"]
    loss.backward()
    assert loss == 0
    assert all(not x.grad.any() for x in model.parameters() if x.grad is not None)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        ((grid("DEPTH"), 5), "DEPTH is 5"),
        ((grid("CONNECTIONS"), "sparse"), "CONNECTIONS is 'sparse'"),
        ((grid("UPSAMPLE"), "cubic"), "UPSAMPLE is 'cubic'"),
        ((grid("NUM_CONVS"), 0), "NUM_CONVS is 0"),
        ((grid("NORM"), "XN"), "NORM is 'XN'"),
        ((grid("ROW_CHANNELS"), [32]), "two or more"),
        ((grid("CONNECTIONS"), "plain", WEIGHTS, [1.0, 1.0, 1.0]), "no shallower depths"),
        ((WEIGHTS, [1.0]), "3 of them"),
        ((WEIGHTS, [-1.0, 1.0, 1.0]), "0 or more"),
        ((MODE, "ensemble"), "needs WEIGHTS"),
        ((MODE, "all"), "MODE is 'all'"),
        ((head("DEEP_SUPERVISION.LOSS"), "hinge"), "LOSS is 'hinge'"),
        ((head("ACTIVATION"), "relu"), "ACTIVATION is 'relu'"),
        ((head("ACTIVATION"), "softmax"), "from 2 to"),
        ((head("REGIONS"), [[1], [2]]), "NUM_CLASSES is 1"),
        ((head("REGIONS"), [[0]]), "labels from 1"),
        (("MODEL.BACKBONE.NAME", "build_resnet_backbone"), "BACKBONE.NAME"),
    ],
)
def test_impossible_configs_are_named(opts, words):
    with pytest.raises(ConfigError, match=words):
        build_model(unet_cfg(*opts))


def test_a_depth_without_a_head_cannot_be_cut_to():
    cfg = unet_cfg()
    with pytest.raises(ConfigError, match="depth 2 has not been trained.*SEM_SEG_HEAD"):
        pruned_weights(cfg, build_model(cfg).state_dict(), 2)


def test_weights_of_another_network_are_refused():
    weights = build_model(unet_cfg(grid("CONNECTIONS"), "adjacent")).state_dict()
    with pytest.raises(ConfigError, match="another grid.*MODEL.NESTED_UNET"):
        build_model(unet_cfg()).load_state_dict(weights)
