"""Detectron2's mapper for what microscopes write: any channels, any number of bits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.structures import BitMasks, BoxMode, Instances, PolygonMasks
from pycocotools import mask as mask_util

from maskrcnnpp.data.augmentations import build_augmentations, loosens_boxes
from maskrcnnpp.data.image_io import open_image
from maskrcnnpp.data.image_io.raster import reason
from maskrcnnpp.data.input_keys import check_input, is_augmented, reads_microscopy
from maskrcnnpp.data.intensity import ModelInput, Remedies
from maskrcnnpp.errors import DataError

_MARGIN = 8.0  # pixels: boxes may be rounded
_REMEDIES = Remedies(
    values="give two INPUT.PERCENTILES, such as [1.0, 99.8], that become 0 and 255",
    channels="choose with INPUT.CHANNELS",
)
_CHANNELS_PILLOW_RESIZES = (1, 3)  # of 8-bit images, which Detectron2 resizes with Pillow


def find_mapper(cfg: CfgNode, is_train: bool) -> MicroscopyMapper | None:
    """The mapper that a config asks for; None where that is Detectron2's own.

    Raises:
        ConfigError: see :func:`maskrcnnpp.data.input_keys.check_input`.
    """
    check_input(cfg)
    # Detectron2's fails where a crop has no object left and those without are kept
    keeps_empty = not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    is_needed = reads_microscopy(cfg) or (is_train and (is_augmented(cfg) or keeps_empty))
    return MicroscopyMapper(cfg, is_train) if is_needed else None


class MicroscopyMapper(DatasetMapper):
    """Detectron2's, that reads files as the rest of this project does, and augments further.

    Images are uint8, or float32 from 0 to 255 where percentiles are taken. Of the annotations
    all becomes what Detectron2's mapper makes of it.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        channels: Sequence[int] = (),
        model_input: ModelInput | None = None,
        elastic: float = 0.0,
        **others: Any,
    ) -> None:
        """
        Args:
            is_train: whether annotations are wanted.
            channels: INPUT.CHANNELS.
            model_input: what becomes of images; None leaves reading them to Detectron2.
            elastic: INPUT.AUGMENT.ELASTIC.
            others: of Detectron2's ``DatasetMapper``.
        """
        super().__init__(is_train, **others)
        self.channels = list(channels)
        self.model_input = model_input
        self.elastic = elastic

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        check_input(cfg)
        found = super().from_config(cfg, is_train)
        if is_train:
            # after the crop: the less there is, the sooner it is turned
            found["augmentations"] = [*found["augmentations"], *build_augmentations(cfg)]
            found["recompute_boxes"] |= cfg.MODEL.MASK_ON and loosens_boxes(cfg)
        return {
            **found,
            "channels": cfg.INPUT.CHANNELS,
            "model_input": ModelInput.from_config(cfg) if reads_microscopy(cfg) else None,
            "elastic": cfg.INPUT.AUGMENT.ELASTIC,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """
        Args:
            dataset_dict: of one image, in Detectron2's form.

        Returns:
            what Detectron2's mapper does, with ``image`` (channels, H, W), uint8 or float32.

        Raises:
            DataError: the image or its annotations cannot be used. The message names the file.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        name = dataset_dict["file_name"]
        image = self.read(name)
        try:
            detection_utils.check_image_size(dataset_dict, image)
            inputs = T.AugInput(image, sem_seg=_semantic(dataset_dict))
            transforms = self.augmentations(inputs)
            self._finish(dataset_dict, inputs, transforms)
        except (AssertionError, IndexError, KeyError, SizeMismatchError, ValueError) as error:
            raise DataError(f"{name} or its annotations cannot be used: {reason(error)}") from error
        return dataset_dict

    def read(self, name: str) -> np.ndarray:
        """An image file as the model takes it, (H, W, channels), uint8 or float32.

        Raises:
            DataError: it cannot be read, or is not as the config says. The message names it.
        """
        if self.model_input is None:
            try:
                return detection_utils.read_image(name, format=self.image_format)
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{name} cannot be read as an image: {reason(error)}") from error
        with open_image(name, self.channels or None) as raster:
            limits = self.model_input.limits(raster, _REMEDIES)
            whole = (0, 0, raster.height, raster.width)
            pixels = self.model_input.pixels(raster, limits, whole)
        if pixels.dtype == np.uint8 and pixels.shape[2] not in _CHANNELS_PILLOW_RESIZES:
            return pixels.astype(np.float32)
        return pixels

    def _finish(
        self, dataset_dict: dict[str, Any], inputs: T.AugInput, transforms: T.TransformList
    ) -> None:
        """What Detectron2's mapper does after augmentation, in place."""
        shape = inputs.image.shape[:2]
        dataset_dict["image"] = torch.as_tensor(
            np.ascontiguousarray(inputs.image.transpose(2, 0, 1))
        )
        if inputs.sem_seg is not None:
            dataset_dict["sem_seg"] = torch.as_tensor(inputs.sem_seg.astype("long"))
        if self.proposal_topk is not None:
            detection_utils.transform_proposals(
                dataset_dict, shape, transforms, proposal_topk=self.proposal_topk
            )
        if not self.is_train:
            dataset_dict.pop("annotations", None)
        elif "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, shape)

    def _transform_annotations(
        self,
        dataset_dict: dict[str, Any],
        transforms: T.TransformList,
        image_shape: tuple[int, int],
    ) -> None:
        """Detectron2's, of what is in sight only, and of images without objects too.

        Of a crop of a large image most objects are not in it. Detectron2's decodes, crops and then
        drops the mask of each.
        """
        annotations = [a for a in dataset_dict["annotations"] if not a.get("iscrowd", 0)]
        margin = _MARGIN + 2 * self.elastic
        annotations = _in_sight(annotations, transforms, image_shape, margin)
        if self.use_instance_mask and not all(a.get("segmentation") for a in annotations):
            raise ValueError(
                "an object has no segmentation: add masks, or set MODEL.MASK_ON to False"
            )
        if not annotations:
            del dataset_dict["annotations"]
            dataset_dict["instances"] = self._no_instances(image_shape)
            return
        if self.use_instance_mask and self.elastic:
            # of a polygon only the corners would be moved
            size = dataset_dict["height"], dataset_dict["width"]
            annotations = [_as_pixels(a, *size) for a in annotations]
        dataset_dict["annotations"] = annotations
        super()._transform_annotations(dataset_dict, transforms, image_shape)

    def _no_instances(self, image_shape: tuple[int, int]) -> Instances:
        found = detection_utils.annotations_to_instances([], image_shape)
        if self.use_instance_mask:
            is_bitmask = self.instance_mask_format == "bitmask"
            empty = torch.zeros(0, *image_shape, dtype=torch.bool)
            found.gt_masks = BitMasks(empty) if is_bitmask else PolygonMasks([])
        return found


def _in_sight(
    annotations: list[dict[str, Any]],
    transforms: T.TransformList,
    image_shape: tuple[int, int],
    margin: float,
) -> list[dict[str, Any]]:
    """Those whose box, transformed, is less than ``margin`` pixels beside the image."""
    if not annotations:
        return []
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
    left, top, right, bottom = transforms.apply_box(np.array(boxes, dtype=np.float64)).T
    height, width = image_shape
    is_seen = (right > -margin) & (left < width + margin)
    is_seen &= (bottom > -margin) & (top < height + margin)
    return [a for a, seen in zip(annotations, is_seen) if seen]


def _as_pixels(annotation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    if not isinstance(annotation["segmentation"], list):
        return annotation
    rings = mask_util.frPyObjects(annotation["segmentation"], height, width)
    return {**annotation, "segmentation": mask_util.merge(rings)}


def _semantic(dataset_dict: dict[str, Any]) -> np.ndarray | None:
    if "sem_seg_file_name" not in dataset_dict:
        return None
    return detection_utils.read_image(dataset_dict.pop("sem_seg_file_name"), "L").squeeze(2)
