from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from maskrcnnpp.exporting.pack import pack_model

CARD = {
    "name": "tiny", "version": "0.1", "purpose": "is for tests", "data": "none", "licence": "CC0",
    "metrics": "none", "limits": ["finds nothing"], "classes": ["cell"],
    "options": {"score_threshold": 0.25},
}  # fmt: skip


@pytest.fixture
def tiny_model(tiny_cfg, tmp_path):
    """Folder of a model of random weights that is sure of something."""
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    tiny_cfg.INPUT.CROP.SIZE = [64, 64]
    tiny_cfg.SOLVER.IMS_PER_BATCH = 2  # more than the images of a first correction
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    tiny_cfg.TEST.EXPECTED_RESULTS = []
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    pack_model(tiny_cfg, tmp_path / "model.pth", CARD, tmp_path / "tiny")
    return str(tmp_path / "tiny")


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


@pytest.fixture
def make_layer():
    """``make_layer(data, rgb=..., ...)``: what is used of a layer of napari."""

    def make(data, rgb=False, **more):
        ndim = np.ndim(data) - rgb
        return SimpleNamespace(
            **{
                "data": data, "rgb": rgb, "name": "cells", "multiscale": False,
                "scale": np.ones(ndim), "translate": np.zeros(ndim),
                "world_to_data": lambda point: np.array(point)[-ndim:], **more,
            }
        )  # fmt: skip

    return make
