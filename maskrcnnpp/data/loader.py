"""Training batches from any place of an endless stream, the same however they are loaded."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, get_detection_dataset_dicts
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils.data import DataLoader, Dataset, Sampler

from maskrcnnpp.errors import ConfigError, DataError, UserError, first_line

logger = logging.getLogger(__name__)

Mapper = Callable[[dict[str, Any]], dict[str, Any]]
#: Index of an image, and the number of the draw, which no other draw of the training has.
Draw = tuple[int, int]


def _leave_signals_to_the_training(_: int) -> None:
    """Ctrl-C reaches workers too; without them the training could not end as it should."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class TrainLoader:
    """Batches of one process, endless; what Detectron2's training loader is.

    Unlike there, a batch depends on its number and the seed only: not on the number of worker
    processes, nor on what was loaded before. So a training that is restarted goes on with the
    batch that it would have come to.
    """

    def __init__(
        self,
        images: Sequence[Mapping[str, Any]],
        mapper: Mapper,
        make_sampler: Callable[[int], Sampler],
        *,
        seed: int,
        batch_size: int,
        group_by_shape: bool = True,
        num_workers: int = 0,
    ) -> None:
        """
        Args:
            images: Detectron2's dicts, with "width" and "height".
            mapper: makes of such a dict what the model takes.
            make_sampler: of a seed, Detectron2's endless sampler of indices for this process.
            seed: of the order, and of what the mapper draws; the same in all processes.
            batch_size: images of this process.
            group_by_shape: put only wide or only high images into one batch.
            num_workers: processes that load; 0 for none beside this one.
        """
        self.seed = seed
        self._images = images
        self._dataset = _Drawn(images, mapper)
        self._make_sampler = make_sampler
        self._batch_size = batch_size
        self._group_by_shape = group_by_shape
        self._num_workers = num_workers
        self._first = 0

    @property
    def image_count(self) -> int:
        """Images that are drawn from."""
        return len(self._images)

    def seek(self, batch: int, seed: int | None = None) -> None:
        """Begin the next iteration with the batch of this number, from 0."""
        self._first = batch
        self.seed = self.seed if seed is None else seed

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        self._dataset.seed = self.seed
        loader = DataLoader(
            self._dataset,
            batch_sampler=itertools.islice(self._batches(), self._first, None),
            num_workers=self._num_workers,
            collate_fn=list,
            worker_init_fn=_leave_signals_to_the_training,
        )
        for batch in loader:
            for item in batch:
                # raised here: a worker's errors come with a traceback as their message
                if isinstance(item, UserError):
                    raise item
            yield batch

    def _batches(self) -> Iterator[list[Draw]]:
        """The draws of each batch, without loading the images."""
        waiting: dict[bool, list[Draw]] = {True: [], False: []}
        rank, world = comm.get_rank(), comm.get_world_size()
        for count, index in enumerate(self._make_sampler(self.seed)):
            image = self._images[index]
            is_wide = self._group_by_shape and image["width"] > image["height"]
            batch = waiting[is_wide]
            batch.append((index, count * world + rank))
            if len(batch) == self._batch_size:
                waiting[is_wide] = []
                yield batch


class _Drawn(Dataset):
    """The image of a draw, whatever the mapper draws fixed by the draw's number."""

    def __init__(self, images: Sequence[Mapping[str, Any]], mapper: Mapper) -> None:
        self.seed = 0
        self._images = DatasetFromList(list(images), copy=True)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, draw: Draw) -> dict[str, Any] | UserError:
        index, number = draw
        seed_all_rng(seed_of(self.seed, number))
        try:
            return self._mapper(self._images[index])
        except UserError as error:
            return error
        except (OSError, SyntaxError, ValueError) as error:  # of Pillow and Detectron2's mapper
            name = self._images[index]["file_name"]
            return DataError(f"{name} or its annotations cannot be used: {first_line(error)}")


class SeededByName:
    """A mapper that draws the same for an image in every call."""

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper

    def __call__(self, image: dict[str, Any]) -> dict[str, Any]:
        seed_all_rng(zlib.crc32(os.path.basename(image["file_name"]).encode()))
        return self._mapper(image)


def seed_of(*numbers: int) -> int:
    """One seed of several numbers from 0, unlike that of any others."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def build_train_loader(cfg: CfgNode, mapper: Mapper, *, seed: int) -> TrainLoader:
    """The loader of a config.

    Args:
        cfg: Detectron2's keys for training data.
        mapper: makes of Detectron2's dict of an image what the model takes.
        seed: see :class:`TrainLoader`.

    Raises:
        DataError: no image of the training sets can be used.
        ConfigError: the batch cannot be shared out among the processes, or the sampler is unknown.
    """
    images = _images(cfg)
    total, world = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if total < 1 or total % world:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {total}, which {world} processes cannot share evenly"
        )
    if total > len(images):
        logger.info(
            "an image is in a batch several times: SOLVER.IMS_PER_BATCH is %d, and there are %d",
            *(total, len(images)),
        )
    return TrainLoader(
        images,
        mapper,
        _sampler_maker(cfg, images),
        seed=seed,
        batch_size=total // world,
        group_by_shape=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def _images(cfg: CfgNode) -> list[dict[str, Any]]:
    keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
    key = "DATALOADER.FILTER_EMPTY_ANNOTATIONS"
    try:
        images = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=False,
            min_keypoints=keypoints if cfg.MODEL.KEYPOINT_ON else 0,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        )
    except AssertionError as error:
        raise DataError(
            f"{', '.join(cfg.DATASETS.TRAIN)} of DATASETS.TRAIN: no image can be trained on "
            f"({error})"
        ) from error
    if not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS or "annotations" not in images[0]:
        return images
    kept = filter_images_with_only_crowd_annotations(images)
    empty = len(images) - len(kept)
    if not kept:
        raise DataError(
            f"{', '.join(cfg.DATASETS.TRAIN)} of DATASETS.TRAIN: no image has an object to train "
            f"on; {key} False takes them all the same"
        )
    if empty:
        text = (
            "%d of %d images have no object, or crowds alone, and are left out; %s False keeps them"
        )
        logger.info(text, empty, len(images), key)
    return kept


def _sampler_maker(cfg: CfgNode, images: Sequence[Mapping[str, Any]]) -> Callable[[int], Sampler]:
    """Detectron2's sampler of the config, by its seed."""
    name, count = cfg.DATALOADER.SAMPLER_TRAIN, len(images)
    if name == "TrainingSampler":
        return lambda seed: TrainingSampler(count, seed=seed)
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            images, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return lambda seed: RepeatFactorTrainingSampler(factors, seed=seed)
    if name == "RandomSubsetTrainingSampler":
        ratio = cfg.DATALOADER.RANDOM_SUBSET_RATIO
        return lambda seed: RandomSubsetTrainingSampler(
            count, ratio, seed_shuffle=seed, seed_subset=seed
        )
    known = "TrainingSampler, RepeatFactorTrainingSampler or RandomSubsetTrainingSampler"
    raise ConfigError(f"DATALOADER.SAMPLER_TRAIN is {name!r}; it can be {known}")
