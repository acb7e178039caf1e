"""The synthetic generator (any size and count, exact masks, repeatable) and its tool."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnnpp import cli
from maskrcnnpp.convert.synthetic import NucleiParameters, generate_nuclei, synthetic_samples


@settings(max_examples=25)
@given(st.integers(0, 99), st.integers(1, 70), st.integers(1, 70), st.integers(0, 12))
def test_masks_are_tight_inside_the_image_and_never_empty(seed, height, width, count):
    image, masks = generate_nuclei(seed, height, width, count)
    assert image.shape == (height, width) and image.dtype == np.uint8
    assert len(masks) == count
    for crop in masks:
        mask = crop.pixels
        assert mask.dtype == bool
        assert crop.top >= 0 and crop.left >= 0
        assert crop.bottom <= height and crop.right <= width
        for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
            assert edge.any()


def test_nuclei_are_brighter_than_the_background():
    image, masks = generate_nuclei(3, 256, 256, 30)
    nuclei = np.zeros(image.shape, bool)
    for crop in masks:
        crop.of(nuclei)[...] |= crop.pixels
    assert np.median(image[nuclei]) > 2 * np.median(image[~nuclei])


def test_some_nuclei_touch_or_overlap_but_not_more_than_allowed():
    parameters = NucleiParameters(clustered_fraction=0.6)
    _, masks = generate_nuclei(0, 512, 512, 80, parameters)
    times = np.zeros((512, 512), int)
    for crop in masks:
        crop.of(times)[...] += crop.pixels
    shared = np.count_nonzero(times > 1)
    assert 0 < shared < 0.1 * np.count_nonzero(times)


def test_the_same_seed_draws_the_same_picture():
    first, second, other = (list(synthetic_samples(2, seed=s, height=64)) for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_a_picture_does_not_depend_on_how_many_are_drawn():
    assert list(synthetic_samples(3, height=64))[:2] == list(synthetic_samples(2, height=64))
    train, val = (next(synthetic_samples(1, prefix=p)) for p in ("train", "val"))
    assert train.image != val.image


def test_samples_decode_to_their_size_and_masks():
    for sample in synthetic_samples(2, height=50, width=70, count=(4, 4)):
        image = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == (sample.height, sample.width) == (50, 70)
        assert len(sample.masks) == 4 and sample.category_ids == (1, 1, 1, 1)
        assert all(coco_mask.area(mask) > 0 for mask in sample.masks)


def test_thousands_of_nuclei_in_a_large_picture():
    image, masks = generate_nuclei(0, 2048, 2048, 2000)
    assert image.shape == (2048, 2048) and len(masks) == 2000
    nuclei = np.zeros(image.shape, bool)
    for crop in masks:
        crop.of(nuclei)[...] |= crop.pixels
        assert crop.pixels.size < 100 * 100  # each in its own small box
    # all over the picture, with room between them
    quarters = [q.mean() for half in np.split(nuclei, 2) for q in np.split(half, 2, axis=1)]
    assert 0.05 < min(quarters) and max(quarters) < 0.5


@pytest.mark.parametrize("arguments", [(0, 8, 1), (8, 0, 1), (8, 8, -1)])
def test_impossible_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match="cannot draw"):
        generate_nuclei(0, *arguments)


def test_synthetic_tool(tmp_path, capsys):
    argv = "--train 3 --val 2 --test 1 --size 48 64 --count 0 6 --seed 4 --output".split()
    cli.main(["prepare", "synthetic", *argv, str(tmp_path / "one")])
    out = capsys.readouterr().out
    assert f"DATASETS.TRAIN \"('{tmp_path}/one/annotations/instances_train.json',)\"" in out
    assert "| all     |        6 |" in out
    val = COCO(tmp_path / "one/annotations/instances_val.json")
    assert [image["file_name"] for image in val.dataset["images"]] == [
        "val_0000.png",
        "val_0001.png",
    ]
    image = Image.open(tmp_path / "one/images/val_0000.png")
    assert (image.size, image.mode) == ((64, 48), "L")
    cli.main(["prepare", "synthetic", *argv, str(tmp_path / "two")])
    for path in (tmp_path / "one").rglob("*.*"):
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes()


def test_synthetic_tool_never_removes_files_of_others(tmp_path, capsys):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train.json").write_text('{"images": [], "info": {}}')
    (tmp_path / "images").mkdir()
    (tmp_path / "images/holiday.jpg").write_text("mine")
    with pytest.raises(SystemExit) as error:
        cli.main(["prepare", "synthetic", "--train", "1", "--output", str(tmp_path)])
    assert error.value.code == 2
    assert "instances_train.json: was not written by this tool" in capsys.readouterr().err
    assert (tmp_path / "images/holiday.jpg").read_text() == "mine"
    assert len(list(tmp_path.rglob("*"))) == 4


@pytest.mark.parametrize(
    "argv",
    ["--train 0", "--val 0", "--test 0", "--train -1", "--count 5 2", "--size 0 8", "--seed -1"],
)
def test_synthetic_tool_refuses_impossible_arguments(capsys, argv):
    with pytest.raises(SystemExit) as error:
        cli.main(["prepare", "synthetic", *argv.split()])
    assert error.value.code == 2 and "usage:" in capsys.readouterr().err
