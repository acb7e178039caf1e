"""Masks encoded inside their box are those that pycocotools makes of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from maskrcnnpp.masks.rle import encode_crop


@st.composite
def crops(draw):
    crop = draw(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)))
    top, below, left, right = (draw(st.integers(0, 3)) for _ in range(4))
    height, width = crop.shape[0] + top + below, crop.shape[1] + left + right
    return crop, top, left, height, width


@given(crops())
def test_equals_pycocotools_and_decodes_to_the_mask(case):
    crop, top, left, height, width = case
    full = np.zeros((height, width), np.uint8, order="F")
    full[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    rle = encode_crop(crop, top, left, height, width)
    assert rle["counts"] == coco_mask.encode(full)["counts"].decode()
    assert rle["size"] == [height, width]
    np.testing.assert_array_equal(coco_mask.decode(rle), full)


def test_any_non_zero_number_is_object():
    rle = encode_crop(np.array([[0, 1], [7, 255]], np.uint8), 0, 0, 2, 2)
    assert coco_mask.decode(rle).tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -1), (3, 0), (0, 3)])
def test_a_crop_outside_the_image_is_refused(top, left):
    with pytest.raises(ValueError, match="outside"):
        encode_crop(np.ones((2, 2)), top, left, 4, 4)
