"""RLE-native masks against Detectron2's pasting and pycocotools' encoding."""

import numpy as np
import pytest
import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.evaluation.evaluator import inference_context
from detectron2.layers import paste_masks_in_image
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from maskrcnnpp.inference import RleMasks, RleRCNN, encode_masks, with_rle_masks


def expected(masks, boxes, height, width, threshold=0.5):
    """Detectron2's pasting, encoded by pycocotools."""
    pasted = paste_masks_in_image(masks, boxes, (height, width), threshold)
    rles = [coco_mask.encode(np.asfortranarray(mask.numpy())) for mask in pasted]
    return [{"size": rle["size"], "counts": rle["counts"].decode()} for rle in rles]


@st.composite
def images_of_boxes(draw):
    """Height, width and boxes that lie at least partly in the image: what pasting can take."""
    height, width = draw(st.integers(1, 64)), draw(st.integers(1, 64))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        box = []
        for size in (width, height):
            low = draw(st.floats(-40, size, width=32))
            high = draw(st.floats(0.015625, 60, width=32))  # from sub-pixel to beyond the border
            box.append((low, max(low + high, 0.0)))
        boxes.append([box[0][0], box[1][0], box[0][1], box[1][1]])
    return height, width, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


@given(images_of_boxes(), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 0.9]))
def test_pixels_are_detectron2s_and_strings_pycocotools(image, seed, threshold):
    height, width, boxes = image
    side = 28 if seed % 2 else 7
    masks = torch.rand(len(boxes), side, side, generator=torch.Generator().manual_seed(seed))
    found = encode_masks(masks, boxes, height, width, threshold)
    assert found == expected(masks, boxes, height, width, threshold)


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 11, 11),  # one pixel
        (10.4, 10.4, 10.6, 10.6),  # less than one
        (0, 0, 64, 48),  # all of the image
        (-20, -30, 90, 100),  # more than all of it
        (60, 40, 64, 48),
        (-5.5, 3.25, 2.125, 9),
    ],
)
@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_boxes_at_the_border_and_below_a_pixel(box, fill):
    masks, boxes = torch.full((1, 28, 28), fill), torch.tensor([box], dtype=torch.float32)
    assert encode_masks(masks, Boxes(boxes), 48, 64) == expected(masks, boxes, 48, 64)


@pytest.mark.parametrize("box", [(70, 5, 80, 15), (-20, 5, -4, 15), (5, 60, 9, 70), (5, -9, 9, -2)])
def test_a_box_outside_the_image_has_no_pixel(box):
    (rle,) = encode_masks(torch.ones(1, 14, 14), torch.tensor([box], dtype=torch.float32), 48, 64)
    assert coco_mask.area(rle) == 0
    assert coco_mask.decode(rle).shape == (48, 64)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("box", [(9, 9, 9, 20), (9.5, 9.5, 9.5, 9.5), (64, 0, 64, 48)])
def test_a_box_without_extent_has_no_pixel(box):
    boxes = np.array([box, (2, 2, 9, 9)], np.float32)
    rles = encode_masks(np.ones((2, 14, 14), np.float32), boxes, 48, 64)
    assert [coco_mask.area(rle) for rle in rles] == [0, 49]


def test_thousands():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(3000, 2, generator=generator) * 475
    boxes = torch.cat([corners, corners + 1 + 25 * torch.rand(3000, 2, generator=generator)], 1)
    masks = torch.rand(3000, 1, 28, 28, generator=generator)
    found = encode_masks(masks, boxes, 512, 480)
    some = torch.arange(0, 3000, 97)
    assert [found[i] for i in some] == expected(masks[some, 0], boxes[some], 512, 480)
    assert len(found) == 3000


@pytest.mark.parametrize(
    ("masks", "boxes"),
    [
        (torch.rand(2, 28, 28), torch.rand(3, 4)),
        (torch.rand(2, 28, 14), torch.rand(2, 4)),
        (torch.rand(2, 3, 28, 28), torch.rand(2, 4)),
    ],
)
def test_masks_and_boxes_that_do_not_belong_together(masks, boxes):
    with pytest.raises(ValueError, match="masks"):
        encode_masks(masks, boxes, 10, 10)


def test_masks_are_a_field_of_instances():
    whole = [coco_mask.encode(np.full((4, 5), fill, dtype=np.uint8, order="F")) for fill in (0, 1)]
    instances = Instances((4, 5), pred_masks=RleMasks(whole, 4, 5), scores=torch.tensor([0.1, 0.9]))
    assert instances[instances.scores > 0.5].pred_masks.rles == [whole[1]]
    assert Instances.cat([instances, instances]).pred_masks.area().tolist() == [0, 20, 0, 20]
    assert instances.to("cpu").pred_masks[torch.tensor([1, 0])].area().tolist() == [20, 0]
    assert instances.pred_masks[1:].bitmasks().all()
    assert instances.pred_masks[0].bitmasks().shape == (1, 4, 5)
    assert len(instances.pred_masks[[]]) == 0


@pytest.mark.parametrize("size", [(64, 64), (150, 97)])
def test_a_model_predicts_the_same_without_full_images(tiny_cfg, make_input, size):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model = build_model(tiny_cfg).eval()
    batch = [{**make_input(3), "height": size[0], "width": size[1]}, make_input(0)]
    with torch.no_grad():
        ours, theirs = RleRCNN(model)(batch), model(batch)
    assert len(ours) == 2
    for mine, other in zip(ours, theirs):
        mine, other = mine["instances"], other["instances"]
        assert len(mine) == len(other) > 0
        assert mine.image_size == other.image_size
        assert torch.equal(mine.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.equal(mine.pred_masks.bitmasks(), other.pred_masks)


def test_a_model_without_masks(tiny_cfg, make_input):
    tiny_cfg.MODEL.MASK_ON = False
    model = build_model(tiny_cfg).eval()
    with torch.no_grad():
        (found,) = RleRCNN(model)([make_input(3)])
    assert not found["instances"].has("pred_masks")


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_mode_of_the_model_as_it_was(tiny_cfg, make_input, training):
    model = build_model(tiny_cfg).train(training)
    wrapped = with_rle_masks(model)
    with torch.no_grad(), inference_context(wrapped):
        assert not model.training
        wrapped([make_input(3)])
    assert model.training == training


def test_what_is_no_rcnn_stays_as_it_is():
    model = torch.nn.Linear(1, 1)
    assert with_rle_masks(model) is model


def test_indexing_takes_tensors_from_any_device():
    class OnAGPU(torch.Tensor):
        def cpu(self):
            return torch.tensor([True, False])

        def __array__(self, *_):
            raise TypeError("can't convert cuda device type tensor to numpy")

    masks = RleMasks([{"size": [1, 1], "counts": "1"}, {"size": [1, 1], "counts": "01"}], 1, 1)
    assert len(masks[torch.zeros(2).as_subclass(OnAGPU)]) == 1


def test_stock_evaluators_take_them_one_image_at_a_time():
    whole = np.zeros((4, 5), dtype=np.uint8, order="F")
    whole[1:3, 2:4] = 1
    found = Instances((4, 5), scores=torch.tensor([0.5]), pred_classes=torch.tensor([0]))
    found.pred_boxes = Boxes(torch.tensor([[2.0, 1, 4, 3]]))
    found.pred_masks = RleMasks([coco_mask.encode(whole)], 4, 5)
    (result,) = instances_to_coco_json(found, 1)
    assert (coco_mask.decode(result["segmentation"]) == whole).all()


class More(GeneralizedRCNN):
    """Predicts something else too, as PanopticFPN does."""

    def inference(self, *_, **__):
        return [], []


def test_models_that_predict_more_stay_as_they_are():
    model = More.__new__(More)
    assert with_rle_masks(model) is model


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_box_that_is_not_finite_is_named(value):
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, value, 9.0, 9.0]])
    with pytest.raises(ValueError, match="box 1 is not finite"):
        encode_masks(torch.ones(2, 1, 28, 28), boxes, 20, 20)
