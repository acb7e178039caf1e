"""Drawing, writing and reading split lists; the stain of an image."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnnpp.convert.splits import (
    SPLIT_FRACTIONS,
    classify_stain,
    draw_splits,
    read_splits,
    write_splits,
)
from maskrcnnpp.errors import DataError

COMMITTED = Path(__file__).parents[2] / "maskrcnnpp" / "commands" / "splits" / "dsb2018"

strata = st.lists(st.sampled_from("abcde"), min_size=3, max_size=120).map(
    lambda kinds: {f"image{i}": kind for i, kind in enumerate(kinds)}
)


@given(strata, st.integers(0, 5))
def test_every_name_is_in_exactly_one_split_and_the_sizes_are_the_fractions(strata, seed):
    splits = draw_splits(strata, seed=seed)
    names = [name for split in splits.values() for name in split]
    assert sorted(names) == sorted(strata)
    for split, fraction in SPLIT_FRACTIONS.items():
        assert abs(len(splits[split]) - fraction * len(strata)) < 1


@given(strata, st.randoms(use_true_random=False))
def test_the_order_of_the_names_does_not_matter(strata, order: random.Random):
    shuffled = list(strata.items())
    order.shuffle(shuffled)
    assert draw_splits(dict(shuffled)) == draw_splits(strata)


@given(strata)
def test_each_stratum_is_shared_out_in_the_fractions(strata):
    splits = draw_splits(strata)
    for stratum, size in Counter(strata.values()).items():
        for split, fraction in SPLIT_FRACTIONS.items():
            got = sum(strata[name] == stratum for name in splits[split])
            assert abs(got - fraction * size) <= 3


def test_ten_images_of_one_stratum():
    splits = draw_splits({str(i): "one" for i in range(10)})
    assert {split: len(names) for split, names in splits.items()} == {
        "train": 5,
        "val": 2,
        "test": 3,
    }


def test_another_seed_draws_other_lists():
    names = {str(i): "one" for i in range(50)}
    assert draw_splits(names, seed=0) == draw_splits(names, seed=0)
    assert draw_splits(names, seed=0) != draw_splits(names, seed=1)


def test_too_few_images():
    with pytest.raises(DataError, match="too few"):
        draw_splits({"a": 0, "b": 0})


def test_write_and_read(tmp_path):
    splits = {"train": ["b", "a"], "val": ["c"], "test": ["d d"]}
    write_splits(tmp_path / "new", splits)
    assert (tmp_path / "new" / "train.txt").read_text() == "b\na\n"
    assert read_splits(tmp_path / "new") == splits


def test_a_name_in_two_lists_is_refused(tmp_path):
    splits = {"train": ["a", "b"], "val": ["c"], "test": ["b"]}
    with pytest.raises(DataError, match=r"b in train.txt and test.txt"):
        write_splits(tmp_path, splits)
    for split, names in splits.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(names))
    with pytest.raises(DataError, match=r"b in train.txt and test.txt"):
        read_splits(tmp_path)


def test_missing_empty_and_binary_lists_are_refused(tmp_path):
    with pytest.raises(DataError, match="train.txt"):
        read_splits(tmp_path)
    write_splits(tmp_path, {"train": ["a"], "val": ["b"]})
    (tmp_path / "test.txt").write_text("\n\n")
    with pytest.raises(DataError, match="test.txt: the split list is empty"):
        read_splits(tmp_path)
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="test.txt"):
        read_splits(tmp_path)


def test_the_committed_dsb2018_lists():
    splits = read_splits(COMMITTED)
    assert {split: len(names) for split, names in splits.items()} == {
        "train": 332,
        "val": 133,
        "test": 199,
    }
    assert all(len(name) == 64 for names in splits.values() for name in names)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize(("level", "stain"), [(10, "fluorescence"), (220, "brightfield")])
def test_stain_of_grey_images(channels, level, stain):
    image = np.full((8, 8), level, np.uint8)
    image[:3] = 128  # fewer pixels than the background
    if channels:
        image = np.repeat(image[..., None], channels, axis=2)
        if channels in (2, 4):
            image[..., -1] = 255  # opaque
    assert classify_stain(image) == stain


@pytest.mark.parametrize(
    ("colour", "stain"), [((200, 150, 210), "histology"), ((202, 200, 199), "brightfield")]
)
def test_stain_of_colour_images(colour, stain):
    image = np.empty((6, 5, 3), np.uint8)
    image[:] = colour
    assert classify_stain(image) == stain
