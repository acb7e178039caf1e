import sys

import pytest
import torch
from detectron2.modeling import build_model
from semantic_config import ROWS, WEIGHTS, grid, unet_cfg

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.modeling.pruning import pruned_config, pruned_weights

NORM = [grid("NORM"), "GN"]
RESNET = [grid("ENCODER"), "resnet", "MODEL.RESNETS.DEPTH", 18]
RESNET += ["MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.BACKBONE.FREEZE_AT", 0, *NORM]


ENCODERS = [
    pytest.param(RESNET, id="resnet"),
    *(
        pytest.param([grid("ENCODER"), f"timm/{name}", *NORM], id=name)
        for name in ("mobilenetv3_small_050", "densenet121", "resnet18")
    ),
]


def build(*opts, rows=ROWS):
    if any(str(word).startswith("timm/") for word in opts):
        pytest.importorskip("timm")
    return build_model(unet_cfg(*opts, rows=rows))


@pytest.mark.parametrize("opts", ENCODERS)
def test_any_encoder_trains_and_predicts_images_of_any_size(opts):
    model = build(*opts, WEIGHTS, [1.0, 1.0, 1.0])
    image = torch.rand(1, 70, 49) * 255
    losses = model([{"image": image, "sem_seg": (image[0] > 127).long()}] * 2)
    sum(losses.values()).backward()
    assert all(
        x.grad is not None
        for name, x in model.named_parameters()
        if ".x_" in name or "grid" in name
    )
    model.eval()
    with torch.no_grad():
        assert model([{"image": image}])[0]["sem_seg"].shape == (1, 70, 49)


@pytest.mark.parametrize("opts", ENCODERS)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_cut_drops_the_stages_that_it_does_not_need(opts, depth):
    model = build(*opts, WEIGHTS, [1.0, 1.0, 1.0]).eval()
    cfg = unet_cfg(*opts, WEIGHTS, [1.0, 1.0, 1.0])
    weights = pruned_weights(cfg, model.state_dict(), depth)
    cut = build_model(pruned_config(cfg, depth)).eval()
    cut.load_state_dict(weights)
    model.backbone.depth = depth
    batch = [{"image": torch.rand(1, 64, 32) * 255}]
    with torch.no_grad():
        assert torch.equal(cut(batch)[0]["sem_seg"], model(batch)[0]["sem_seg"])
    count = sum(x.numel() for name, x in weights.items() if "encoder" in name)
    assert count < 0.5 * sum(
        x.numel() for name, x in model.state_dict().items() if "encoder" in name
    )


def test_five_rows_below_the_first():
    model = build(*RESNET, rows=[*ROWS, 128]).eval()
    assert model.backbone.depth == 5
    with pytest.raises(ConfigError, match="resnet, which has 5 maps"):
        build(*RESNET, rows=[*ROWS, 128, 256])


def test_unknown_encoders_are_named():
    with pytest.raises(ConfigError, match="ENCODER is 'vgg'"):
        build(grid("ENCODER"), "vgg")
    with pytest.raises(ConfigError, match="ENCODER is nothing"):
        build(grid("ENCODER"), "timm/nothing")
    with pytest.raises(ConfigError, match="rows or levels need"):
        build(grid("ENCODER"), "timm/vit_tiny_patch16_224")


def test_without_timm_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'maskrcnnpp\[timm\]'"):
        build_model(unet_cfg(grid("ENCODER"), "timm/vgg11"))
