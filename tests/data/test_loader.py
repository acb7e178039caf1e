"""Batches of a training: the same from any beginning, with any number of workers."""

import os

import pytest
import torch
from detectron2.data.samplers import TrainingSampler

from maskrcnnpp.data.loader import TrainLoader, seed_of
from maskrcnnpp.errors import DataError

IMAGES = [
    {"file_name": f"{k}.png", "width": 64 + 32 * (k % 3 == 0), "height": 64} for k in range(7)
]


def draw(image):
    """An image's name and a number of each generator that a mapper may use."""
    import random

    import numpy as np

    numbers = (random.random(), np.random.random(), torch.rand(1).item())
    return {**image, "numbers": numbers}


def loader_of(mapper=draw, **options):
    make_sampler = lambda seed: TrainingSampler(len(IMAGES), seed=seed)  # noqa: E731
    options = {"seed": 3, "batch_size": 2, **options}
    return TrainLoader(IMAGES, mapper, make_sampler, **options)


def take(loader, count):
    return [batch for batch, _ in zip(loader, range(count))]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_any_beginning_and_any_number_of_workers(workers, grouped):
    expected = take(loader_of(group_by_shape=grouped), 12)
    loader = loader_of(group_by_shape=grouped, num_workers=workers)
    for first in (0, 5, 11):
        loader.seek(first)
        assert take(loader, 12 - first) == expected[first:]


def test_batches_are_of_one_shape():
    for batch in take(loader_of(), 20):
        assert len({image["width"] > image["height"] for image in batch}) == 1
    mixed = take(loader_of(group_by_shape=False), 20)
    assert any(len({image["width"] for image in batch}) == 2 for batch in mixed)


def test_no_draw_is_like_another():
    batches = take(loader_of(), 30)
    assert len({image["numbers"] for batch in batches for image in batch}) == 60
    assert take(loader_of(seed=4), 3) != batches[:3]


def test_seeds_differ():
    found = {seed_of(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(found) == 512 and all(0 <= seed < 2**32 for seed in found)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("3.png is cut short"), "^3.png is cut short$"),
        (OSError("cannot identify image file"), "^3.png or its annotations cannot .*cannot ident"),
        (ValueError("mask of another size"), "^3.png or its annotations cannot .*another size"),
    ],
)
def test_errors_name_the_image_without_a_traceback(workers, error, message):
    def fail(image):
        if image["file_name"] == "3.png":
            raise error
        return image

    with pytest.raises(DataError, match=message):
        take(loader_of(fail, num_workers=workers), 12)


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(RuntimeError, match="exited unexpectedly|killed by signal"):
        take(loader_of(lambda image: os._exit(1), num_workers=1), 1)
