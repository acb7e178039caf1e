import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from maskrcnnpp.inference.tta import AugmentedRCNN


@pytest.fixture(params=[(0.0, False), (0.2, False), (0.0, True), (0.2, True)])
def model_and_cfg(tiny_cfg, request):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    masks = tiny_cfg.MODEL.ROI_MASK_HEAD
    masks.BOX_MARGIN, masks.SCORE_MASKS = request.param
    return build_model(tiny_cfg).eval(), tiny_cfg


def infer(model, image):
    with torch.no_grad():
        (found,) = model.inference([{"image": image}], do_postprocess=False)
    return found


def augmented(model_and_cfg, flips, scales):
    model, cfg = model_and_cfg
    return AugmentedRCNN(cfg, model, flips=flips, scales=scales).eval()


def image_of(make_input, seed=3):
    return make_input(seed)["image"].float()


def test_without_augmentation_it_is_the_model(model_and_cfg, make_input):
    image = image_of(make_input)
    expected = infer(model_and_cfg[0], image)
    found = infer(augmented(model_and_cfg, False, (1.0,)), image)
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    torch.testing.assert_close(found.pred_masks, expected.pred_masks)
    torch.testing.assert_close(found.scores, expected.scores)


@pytest.mark.parametrize("dims", [[1], [2], [1, 2]])
def test_with_flips_a_mirrored_image_has_the_mirrored_objects(model_and_cfg, make_input, dims):
    model, image = augmented(model_and_cfg, True, (1.0,)), image_of(make_input)
    one, other = infer(model, image), infer(model, image.flip(dims=dims))
    assert len(one) == len(other) > 0
    height, width = image.shape[1:]
    boxes = other.pred_boxes.tensor.clone()
    if 2 in dims:
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if 1 in dims:
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    masks = other.pred_masks.flip(dims=[dim + 1 for dim in dims])
    # the order among equal scores may differ
    for box, mask, score in zip(one.pred_boxes.tensor, one.pred_masks, one.scores):
        index = (boxes - box).abs().amax(dim=1).argmin()
        torch.testing.assert_close(boxes[index], box, atol=1e-3, rtol=0)
        torch.testing.assert_close(masks[index], mask, atol=3e-4, rtol=0)
        torch.testing.assert_close(other.scores[index], score, atol=1e-4, rtol=0)


def test_a_scale_is_an_image_of_that_size(model_and_cfg, make_input):
    image = image_of(make_input)
    height, width = image.shape[1:]
    pixels = cv2.resize(image.permute(1, 2, 0).numpy(), (2 * width, 2 * height))
    expected = infer(model_and_cfg[0], torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    found = infer(augmented(model_and_cfg, False, (2.0,)), image)
    assert found.image_size == (height, width) and len(found) == len(expected) > 0
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor / 2)
    torch.testing.assert_close(found.pred_masks, expected.pred_masks)


def test_smaller_scales_average(model_and_cfg):
    model = augmented(model_and_cfg, False, (0.5, 0.001))
    checks = (
        torch.from_numpy(np.indices((64, 64)).sum(axis=0) % 2 * 200.0).float().expand(3, 64, 64)
    )
    half, one = model.tta_mapper({"image": checks})
    assert half["image"].shape == (3, 32, 32) and (half["image"] == 100).all()
    assert one["image"].shape == (3, 1, 1)


def test_heads_are_on_again_after_a_failure(model_and_cfg, make_input):
    model = augmented(model_and_cfg, True, (1.0,))

    def out_of_memory(*_):
        raise torch.cuda.OutOfMemoryError

    handle = model.model.backbone.register_forward_pre_hook(out_of_memory)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        infer(model, image_of(make_input))
    handle.remove()
    assert infer(model, image_of(make_input)).has("pred_masks")


def test_nothing_found(model_and_cfg, make_input):
    model, cfg = model_and_cfg
    model.roi_heads.box_predictor.test_score_thresh = 1.1
    found = infer(augmented((model, cfg), True, (1.0, 2.0)), image_of(make_input))
    assert len(found) == 0 and found.pred_masks.shape[:2] == (0, 1)
    assert model.roi_heads.mask_on
