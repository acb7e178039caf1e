"""configs/lazy, as Detectron2's tools/lazyconfig_train_net.py reads them."""

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.layers import ShapeSpec
from detectron2.solver import LRMultiplier
from detectron2.utils.events import EventStorage

from maskrcnnpp.data import catalog  # noqa: F401  # registers the data sets


def tiny(name):
    """A config with its encoder and all widths made small."""
    cfg = LazyConfig.load(f"configs/lazy/{name}.py")
    pyramid, heads = cfg.model.backbone, cfg.model.roi_heads
    if "R_50" in name:
        pyramid.bottom_up.stages.depth = 18
        pyramid.bottom_up.stages.pop("stride_in_1x1")  # of bottlenecks
        pyramid.bottom_up.freeze_at = 0
    else:
        pyramid.bottom_up.update(embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
    pyramid.update(out_channels=32, row_channels=[32, 32, 32, 32])
    cfg.model.proposal_generator.head.in_channels = 32
    heads.box_head.update(input_shape=ShapeSpec(channels=32, height=7, width=7), fc_dims=[32])
    heads.box_predictor.input_shape = ShapeSpec(channels=32)
    heads.mask_head.update(
        input_shape=ShapeSpec(channels=32, width=14, height=14), conv_dims=[32, 32]
    )
    return cfg


NAMES = ["maskrcnnpp_R_50_nested_fpn", "maskrcnnpp_swin_t_nested_fpn"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_built_and_trained(make_input, name):
    cfg = tiny(name)
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    scheduler = LRMultiplier(optimizer, instantiate(cfg.lr_multiplier), cfg.train.max_iter)
    waiting, names = {n for n, p in model.named_parameters() if p.requires_grad}, set()
    for iteration in range(3):
        with EventStorage(iteration):
            losses = model.train()([make_input(5), make_input(2)])
        assert all(torch.isfinite(x) for x in losses.values())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        scheduler.step()
        names |= set(losses)
        waiting -= {name for name, p in model.named_parameters() if p.grad is not None}
    assert {"loss_mask", "loss_mask_d1", "loss_mask_d2"} <= names
    assert waiting == set()
    with torch.no_grad():
        (output,) = model.eval()([make_input(1)])
    assert output["instances"].pred_masks.shape[1:] == (64, 64)


@pytest.mark.parametrize("name", NAMES)
def test_its_data_are_read_as_the_model_takes_them(name):
    cfg = LazyConfig.load(f"configs/lazy/{name}.py")
    for loader, is_train in ((cfg.dataloader.train, True), (cfg.dataloader.test, False)):
        mapper = instantiate(loader.mapper)
        assert mapper.is_train is is_train
        assert mapper.image_format == cfg.model.input_format
    assert instantiate(cfg.dataloader.train.mapper).instance_mask_format == "bitmask"
    assert cfg.dataloader.evaluator.dataset_name == cfg.dataloader.test.dataset.names
