"""Test-time augmentation: a prediction from an image mirrored and at several scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import (
    HFlipTransform,
    NoOpTransform,
    ResizeTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from detectron2.modeling import GeneralizedRCNN, GeneralizedRCNNWithTTA
from detectron2.structures import Boxes, Instances

from maskrcnnpp.inference.resizing import resized_to
from maskrcnnpp.modeling.mask_boxes import scored_by_masks, set_boxes_of_masks, widened


class AugmentedRCNN(GeneralizedRCNNWithTTA):
    """Detectron2's, of which also vertical flips are known and masks stay in their boxes.

    Boxes of all versions are merged by NMS; the mask of each is the mean over the versions.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: GeneralizedRCNN,
        *,
        flips: bool,
        scales: Sequence[float],
        batch_size: int = 1,
    ) -> None:
        """
        Args:
            cfg: of the model.
            model: a Mask R-CNN.
            flips: also mirror from left to right, from top to bottom, and both: four versions.
            scales: factors of both sides: as many versions.
            batch_size: versions that the model is given at a time. Of several, each is looked at
                twice: for boxes, and for the masks of the merged boxes.
        """
        super().__init__(cfg, model, tta_mapper=_Versions(flips, scales), batch_size=batch_size)

    def inference(
        self, batched_inputs: list[dict], do_postprocess: bool = False
    ) -> list[Instances]:
        """Predict, like ``GeneralizedRCNN.inference`` without post-processing.

        Args:
            batched_inputs: with ``image`` (C, H, W), float32. Other entries are not looked at.
            do_postprocess: False.

        Returns:
            of each image, in its pixels, with ``pred_masks`` (N, 1, M, M), 0..1.
        """
        if do_postprocess:
            raise ValueError("AugmentedRCNN has no post-processing; use it through Predictor")
        return [self._inference_one_image(entry) for entry in batched_inputs]

    def _inference_one_image(self, input: dict) -> Instances:
        # Detectron2's ends by pasting each mask into an image of its own
        versions, transforms = self._get_augmented_inputs(input)
        with self._turn_off_roi_heads(["mask_on"]):
            boxes, scores, classes = self._get_augmented_boxes(versions, transforms)
        size = tuple(input["image"].shape[1:])
        merged = self._merge_detections(boxes, scores, classes, size)
        margin = getattr(self.model.roi_heads, "mask_margin", 0.0)
        wider = Instances(size, **merged.get_fields())
        wider.pred_boxes = Boxes(widened(merged.pred_boxes.tensor, margin))
        given = self._rescale_detected_boxes(versions, wider, transforms)
        # the mean is of masks in the same boxes; the box of the mean comes after it
        with self._turn_off_roi_heads(["mask_margin"] if margin else []):
            outputs = self._batch_inference(versions, [entry.to(boxes.device) for entry in given])
        merged.pred_masks = self._reduce_pred_masks(outputs, transforms)
        if margin:
            set_boxes_of_masks(merged, margin)
        if getattr(self.model.roi_heads, "score_masks", False):
            return scored_by_masks(merged)
        return merged

    @contextmanager
    def _turn_off_roi_heads(self, attrs: Sequence[str]) -> Iterator[None]:
        # Detectron2's leaves them off where something fails meanwhile, such as memory
        heads = self.model.roi_heads
        was = {name: getattr(heads, name) for name in attrs}
        try:
            for name in attrs:
                setattr(heads, name, False)
            yield
        finally:
            for name, value in was.items():
                setattr(heads, name, value)

    def _reduce_pred_masks(
        self, outputs: list[Instances], tfms: list[TransformList]
    ) -> torch.Tensor:
        """The mean of the masks, each mirrored back."""
        back = []
        for output, transform in zip(outputs, tfms):
            kinds = {HFlipTransform: 3, VFlipTransform: 2}
            dims = [kinds[type(t)] for t in transform.transforms if type(t) in kinds]
            back.append(output.pred_masks.flip(dims=dims) if dims else output.pred_masks)
        return torch.stack(back).mean(dim=0)


class _Versions:
    """Makes the versions of one model input, in the form that ``DatasetMapperTTA`` gives."""

    def __init__(self, flips: bool, scales: Sequence[float]) -> None:
        self._flips = flips
        self._scales = scales

    def __call__(self, entry: dict) -> list[dict]:
        pixels = entry["image"].permute(1, 2, 0).numpy()
        height, width = pixels.shape[:2]
        found = []
        for scale in self._scales:
            size = max(1, round(height * scale)), max(1, round(width * scale))
            resized = resized_to(pixels, *size)
            resize = ResizeTransform(height, width, *size) if scale != 1 else NoOpTransform()
            for flips in self._flip_transforms(*size):
                mirrored = resized
                for flip in flips:
                    mirrored = flip.apply_image(mirrored)
                image = torch.from_numpy(np.ascontiguousarray(mirrored.transpose(2, 0, 1)))
                found.append({"image": image, "transforms": TransformList([resize, *flips])})
        return found

    def _flip_transforms(self, height: int, width: int) -> list[list[Transform]]:
        across, down = HFlipTransform(width), VFlipTransform(height)
        return [[], [across], [down], [across, down]] if self._flips else [[]]
