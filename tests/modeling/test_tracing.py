"""torch.jit.trace by Detectron2's TracingAdapter, as its export does."""

import pytest
import torch
from detectron2.export import TracingAdapter
from detectron2.modeling import build_model

FINE = ["conv1", "res2", "res3", "res4", "res5"]


def instances(model, inputs):
    return [{"instances": x} for x in model.inference(inputs, do_postprocess=False)]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*jit:Warning")
@pytest.mark.parametrize(
    ("roi_heads", "mode"), [("NestedROIHeads", "pruned"), ("NestedCascadeROIHeads", "ensemble")]
)
def test_a_traced_model_takes_other_images_and_numbers_of_objects(tiny_cfg, roi_heads, mode):
    tiny_cfg.MODEL.FPN.IN_FEATURES = FINE
    tiny_cfg.MODEL.NESTED_FPN.ROW_CHANNELS = [16, 32, 32, 32, 32]
    tiny_cfg.MODEL.ROI_HEADS.NAME = roi_heads
    tiny_cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    deep = tiny_cfg.MODEL.ROI_MASK_HEAD.DEEP_SUPERVISION
    deep.MODE, deep.WEIGHTS = mode, [0.0, 1.0, 1.0]
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model = build_model(tiny_cfg).eval()
    images = [torch.rand(3, *size) * 255 for size in ((64, 64), (64, 64), (96, 64))]

    def predicted(image):
        with torch.no_grad():
            return instances(model, [{"image": image}])[0]["instances"]

    # a threshold by which the images have different numbers of objects, one of them none
    best = {image: predicted(image).scores.max().item() for image in images}
    images.sort(key=best.get)
    for predictor in model.roi_heads.modules():
        if hasattr(predictor, "test_score_thresh"):
            predictor.test_score_thresh = best[images[0]]

    adapter = TracingAdapter(model, [{"image": images[2]}], instances)
    traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    counts = set()
    for image in images:
        expected = predicted(image)
        with torch.jit.optimized_execution(False):
            found = adapter.outputs_schema(traced(image))[0]["instances"]
        counts.add(len(expected))
        assert len(found) == len(expected)
        assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.pred_masks, expected.pred_masks)
    assert 0 in counts and len(counts) > 1
