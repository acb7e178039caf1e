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
from PIL import Image

from maskrcnnpp.data.augment.geometry import Elastic
from maskrcnnpp.data.augment.values import build_augmentations, loosens_boxes, with_scale
from maskrcnnpp.data.crop_objects import drop_objects_outside_crop, no_objects, without_polygons
from maskrcnnpp.data.input_checks import check_input, is_augmented, reads_microscopy
from maskrcnnpp.data.semantic import (
    CLASS_COUNT,
    IGNORED,
    LABEL_FILE,
    is_semantic,
    read_labels,
)
from maskrcnnpp.errors import DataError, first_line
from maskrcnnpp.images import open_image
from maskrcnnpp.images.intensity import ModelInput, Remedies

_REMEDIES = Remedies(
    values="give two INPUT.PERCENTILES, such as [1.0, 99.8], that become 0 and 255",
    channels="choose with INPUT.CHANNELS",
)
_CHANNELS_PILLOW_RESIZES = (1, 3)  # of 8-bit images, which Detectron2 resizes with Pillow


def find_mapper(cfg: CfgNode, is_train: bool) -> MicroscopyMapper | None:
    """The mapper that a config asks for; None where that is Detectron2's own.

    Raises:
        ConfigError: see :func:`maskrcnnpp.data.input_checks.check_input`.
    """
    check_input(cfg)
    # with masks, Detectron2's takes ten times as long for a crop of a crowded image, and fails for
    # one without an object
    if is_semantic(cfg):
        return SemanticMapper(cfg, is_train)
    is_needed = reads_microscopy(cfg) or cfg.INPUT.SCALE != 1
    is_needed |= is_train and (is_augmented(cfg) or cfg.MODEL.MASK_ON)
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
        **others: Any,
    ) -> None:
        """
        Args:
            is_train: whether annotations are wanted.
            channels: INPUT.CHANNELS.
            model_input: what becomes of images; None leaves reading them to Detectron2.
            others: of Detectron2's ``DatasetMapper``.
        """
        super().__init__(is_train, **others)
        self.channels = list(channels)
        self.model_input = model_input

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        check_input(cfg)
        found = super().from_config(cfg, is_train)
        usual = with_scale(cfg, found["augmentations"], is_train)
        found["augmentations"] = usual
        if is_train:
            # after the crop: the less there is, the sooner it is turned
            found["augmentations"] = [*usual, *build_augmentations(cfg)]
            found["recompute_boxes"] |= cfg.MODEL.MASK_ON and loosens_boxes(cfg)
        return {
            **found,
            "channels": cfg.INPUT.CHANNELS,
            "model_input": ModelInput.from_config(cfg) if reads_microscopy(cfg) else None,
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
            inputs = T.AugInput(image, sem_seg=self.semantic_truth(dataset_dict))
            transforms = self.augmentations(inputs)
            self._finish(dataset_dict, inputs, transforms)
        except (AssertionError, IndexError, KeyError, SizeMismatchError, ValueError) as error:
            raise DataError(
                f"{name} or its annotations cannot be used: {first_line(error)}"
            ) from error
        return dataset_dict

    def read(self, name: str) -> np.ndarray:
        """An image file as the model takes it, (H, W, channels), uint8 or float32.

        Raises:
            DataError: it cannot be read, or is not as the config says. The message names it.
        """
        if self.model_input is None:
            try:
                return detection_utils.read_image(name, format=self.image_format)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise DataError(
                    f"{name} cannot be read as an image: {first_line(error)}"
                ) from error
        with open_image(name, self.channels or None) as raster:
            raster.check_size()
            limits = self.model_input.limits(raster, _REMEDIES)
            whole = (0, 0, raster.height, raster.width)
            pixels = self.model_input.pixels(raster, limits, whole)
        if pixels.dtype == np.uint8 and pixels.shape[2] not in _CHANNELS_PILLOW_RESIZES:
            return pixels.astype(np.float32)
        return pixels

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.TransformList, image_shape: tuple
    ) -> None:
        """Detectron2's, in place, of those annotations that may be in the image."""
        if self.use_instance_mask:
            objects = self._objects(dataset_dict, transforms, image_shape)
            if not objects:
                del dataset_dict["annotations"]
                dataset_dict["instances"] = no_objects(image_shape, self.instance_mask_format)
                return
            dataset_dict["annotations"] = objects
        super()._transform_annotations(dataset_dict, transforms, image_shape)

    def _objects(
        self, dataset_dict: dict[str, Any], transforms: T.TransformList, image_shape: tuple
    ) -> list[dict[str, Any]]:
        """Annotations with masks, of which some pixel may be in the image."""
        objects = [a for a in dataset_dict["annotations"] if not a.get("iscrowd", 0)]
        if not all(entry.get("segmentation") for entry in objects):
            raise DataError(
                f"{dataset_dict['file_name']}: an annotation has no segmentation; set "
                "MODEL.MASK_ON to False, or add masks"
            )
        size = dataset_dict["height"], dataset_dict["width"]
        objects = drop_objects_outside_crop(objects, transforms, size, image_shape)
        is_bent = any(isinstance(transform, Elastic) for transform in transforms.transforms)
        # of a polygon bending would move the vertices only
        return without_polygons(objects, size) if is_bent else objects

    def _finish(
        self, dataset_dict: dict[str, Any], inputs: T.AugInput, transforms: T.TransformList
    ) -> None:
        """Do, in place, what Detectron2's mapper does after augmentation."""
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

    def semantic_truth(self, dataset_dict: dict[str, Any]) -> np.ndarray | None:
        """The label image of an image, where it has one; it is taken out of the dict."""
        if LABEL_FILE not in dataset_dict:
            return None
        return detection_utils.read_image(dataset_dict.pop(LABEL_FILE), "L").squeeze(2)


class SemanticMapper(MicroscopyMapper):
    """The same for semantic segmentation: ``sem_seg`` of label images, or of the objects."""

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        ignore_value: int = IGNORED,
        class_count: int | None = None,
        **others: Any,
    ) -> None:
        """
        Args:
            is_train: whether the truth is wanted.
            ignore_value: label of pixels that do not count, and of those that an augmentation
                brings in from outside of the image.
            class_count: labels above it are refused where the data set does not say what it has.
            others: of :class:`MicroscopyMapper`.
        """
        super().__init__(is_train, **others)
        self.ignore_value = ignore_value
        self.class_count = class_count

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        found = super().from_config(cfg, is_train)
        head = cfg.MODEL.SEM_SEG_HEAD
        found["ignore_value"] = head.IGNORE_VALUE
        if not head.REGIONS:
            found["class_count"] = head.NUM_CLASSES - (head.ACTIVATION == "softmax")
        return found

    def semantic_truth(self, dataset_dict: dict[str, Any]) -> np.ndarray | None:
        """Labels plus 1, so that 0, with which transforms fill up, is what does not count."""
        labels = None
        if self.is_train:
            known = {} if self.class_count is None else {CLASS_COUNT: self.class_count}
            labels = read_labels({**known, **dataset_dict}, self.ignore_value)
            labels = np.where(labels == self.ignore_value, 0, labels + 1).astype(np.uint8)
        for key in (LABEL_FILE, "annotations"):
            dataset_dict.pop(key, None)
        return labels

    def _finish(
        self, dataset_dict: dict[str, Any], inputs: T.AugInput, transforms: T.TransformList
    ) -> None:
        if (moved := inputs.sem_seg) is not None:
            inputs.sem_seg = np.where(moved == 0, self.ignore_value, moved - 1).astype(np.uint8)
        super()._finish(dataset_dict, inputs, transforms)
