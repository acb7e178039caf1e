import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from semantic_config import head, unet_cfg
from skimage.draw import disk
from skimage.measure import label

from maskrcnnpp.errors import ConfigError
from maskrcnnpp.inference.semantic_instances import ObjectFinder


def discs(*centres, radius=9, size=(64, 64)):
    mask = np.zeros(size, bool)
    for centre in centres:
        mask[disk(centre, radius, shape=size)] = True
    return mask


def test_touching_discs_are_parted_by_the_watershed_only():
    mask = discs((20, 20), (20, 36), (50, 50))
    assert ObjectFinder("components").label(mask).max() == 2
    labels = ObjectFinder("watershed").label(mask)
    assert len(np.unique(labels)) == 4
    assert labels[20, 20] != labels[20, 36]


@given(arrays(bool, (12, 10)))
def test_components_are_those_of_scikit_image(mask):
    found = ObjectFinder("components", min_area=1).label(mask)
    expected = label(mask, connectivity=2)
    assert len(set(zip(found.ravel(), expected.ravel()))) == expected.max() + (expected == 0).any()


@given(arrays(bool, (16, 14)), st.floats(0.1, 4), st.integers(1, 8))
def test_a_watershed_loses_small_objects_only(mask, neck, min_area):
    labels = ObjectFinder("watershed", neck, 1).label(mask)
    np.testing.assert_array_equal(labels > 0, mask)
    kept = ObjectFinder("watershed", neck, min_area).label(mask)
    areas = np.bincount(labels.ravel(), minlength=labels.max() + 1)
    np.testing.assert_array_equal(kept, np.where(areas[labels] >= min_area, labels, 0))


def test_a_long_object_stays_whole():
    mask = np.zeros((64, 64), bool)
    mask[10:20, 2:60] = mask[30:33, 2:60] = mask[40, 2:60] = True
    labels = ObjectFinder("watershed").label(mask)
    assert len(np.unique(labels)) == 4


@given(st.floats(0, 1), st.floats(6, 18), st.floats(0.35, 1), st.floats(0, np.pi))
def test_an_ellipse_stays_whole(place, long, ratio, angle):
    rows, columns = np.mgrid[:48, :48] - 24.0 - place
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    mask = (along / long) ** 2 + (across / (ratio * long)) ** 2 <= 1
    assert ObjectFinder("watershed").label(mask).max() == 1


def test_objects_have_class_score_box_and_mask():
    values = torch.zeros(2, 64, 64)
    values[0][torch.from_numpy(discs((20, 20)))] = 0.75
    values[1, 40:50, 30:60] = 0.875
    found = ObjectFinder()(values)
    assert found.pred_classes.tolist() == [0, 1]
    assert found.scores.tolist() == [0.75, 0.875]
    assert found.pred_boxes.tensor[1].tolist() == [30, 40, 60, 50]
    np.testing.assert_array_equal(found.pred_masks.bitmasks()[0].numpy(), discs((20, 20)))


def test_background_of_exclusive_classes_is_no_object():
    values = torch.zeros(3, 32, 32)
    values[0] = 0.5
    values[1, :16] = 0.3
    values[2, 8:20, 8:20] = 0.6
    found = ObjectFinder(first_class=1)(values)
    assert found.pred_classes.tolist() == [1]
    assert found.pred_masks.area().tolist() == [144]


def test_nothing_is_nothing():
    found = ObjectFinder()(torch.zeros(1, 20, 20))
    assert len(found) == len(found.pred_boxes) == len(found.pred_masks) == 0


@pytest.mark.parametrize(("key", "value"), [("METHOD", "magic"), ("MIN_AREA", 0), ("NECK", 0.0)])
def test_impossible_keys_are_named(key, value):
    with pytest.raises(ConfigError, match=f"OBJECTS.{key} is"):
        ObjectFinder.from_config(unet_cfg(head(f"OBJECTS.{key}"), value))
