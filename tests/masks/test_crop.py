import numpy as np
import pytest

from maskrcnnpp.masks.crop import Crop


def full(crop, height, width):
    image = np.zeros((height, width), bool)
    if crop is not None:
        crop.of(image)[...] = crop.pixels
    return image


@pytest.mark.parametrize("seed", range(20))
def test_a_part_is_what_the_image_has_there(seed):
    rng = np.random.default_rng(seed)
    image = np.zeros((20, 30), bool)
    image[5:15, 8:20] = rng.random((10, 12)) < 0.1
    crop = Crop(5, 8, image[5:15, 8:20])
    top, left = rng.integers(0, 18), rng.integers(0, 28)
    bottom, right = rng.integers(top + 1, 21), rng.integers(left + 1, 31)
    part = crop.within(top, left, bottom, right)
    expected = image[top:bottom, left:right]
    assert (part is None) == (not expected.any())
    assert (full(part, *expected.shape) == expected).all()


def test_tight():
    pixels = np.zeros((6, 7), bool)
    assert Crop(2, 3, pixels).tight() is None
    pixels[1, 2] = pixels[4, 5] = True
    crop = Crop(2, 3, pixels).tight()
    assert (crop.top, crop.left, crop.bottom, crop.right) == (3, 5, 7, 9)
    assert (full(crop, 12, 12) == full(Crop(2, 3, pixels), 12, 12)).all()
    assert Crop.of_rle(crop.rle(12, 12)).top == 3
