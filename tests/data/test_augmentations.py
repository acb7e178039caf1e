"""Augmentations: masks move with images, values stay in range, the same seed gives the same."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from maskrcnnpp.data.augment import geometry, values

GEOMETRIC = {
    "flip": lambda: T.RandomFlip(0.5, horizontal=False, vertical=True),
    "quarter": geometry.RandomQuarterTurns,
    "turn": lambda: geometry.RandomTurn([-30, 30], expand=False),
    "elastic": lambda: geometry.RandomElastic(5.0),
}
PHOTOMETRIC = {
    "stain": lambda: values.RandomStain(0.5),
    "invert": lambda: values.RandomInvert(1.0),
    "gamma": lambda: values.RandomGamma(0.5, 0.7),
    "blur": lambda: values.RandomBlur(1, 2),
    "noise": lambda: values.RandomNoise(5, 9),
}
NOTHING = {
    "turn": lambda: geometry.RandomTurn([0, 0], expand=False),
    "elastic": lambda: geometry.RandomElastic(0.0),
    "stain": lambda: values.RandomStain(0.0),
    "invert": lambda: values.RandomInvert(0.0),
    "gamma": lambda: values.RandomGamma(1, 1),
    "blur": lambda: values.RandomBlur(0, 0),
    "noise": lambda: values.RandomNoise(0, 0),
}
SHAPES = [(64, 48, 1), (64, 48, 3), (48, 64, 5), (50, 51, 9)]


def blobs(seed, shape=(64, 48)):
    """A binary mask of smooth objects."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return (ndimage.gaussian_filter(noise, 4) > 0.03).astype(np.uint8)


def drawn(augmentation, image, seed=0):
    np.random.seed(seed)
    return augmentation.get_transform(image)


def pixels(shape, dtype, seed=0):
    image = np.random.default_rng(seed).uniform(0, 255, shape)
    return image.astype(dtype)


@pytest.mark.parametrize("name", GEOMETRIC)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), channels=st.sampled_from([1, 3, 5]))
def test_an_image_of_a_mask_moves_as_the_mask_does(name, seed, channels):
    mask = blobs(seed)
    image = np.repeat(mask[..., None] * np.float32(255), channels, axis=2)
    transform = drawn(GEOMETRIC[name](), image, seed)
    moved = transform.apply_segmentation(mask)
    assert set(np.unique(moved)) <= {0, 1} and moved.dtype == np.uint8
    seen = transform.apply_image(image)
    # what comes from outside is not an object, and has the median's value: left out here
    inside = transform.apply_segmentation(np.ones_like(mask)) == 1
    inside = ndimage.binary_erosion(inside, iterations=2)  # nor at the sides, where both mix
    assert (seen == seen[..., :1]).all()
    bright = seen[..., 0] > 127.5
    if name in ("flip", "quarter"):
        assert (bright == (moved == 1)).all()
    else:
        # but for outlines, where one is interpolated and the other is not: a notch of one pixel
        # may be seen by one only
        core = ndimage.binary_erosion(moved, iterations=2, border_value=1)
        grown = ndimage.binary_dilation(moved, iterations=2)
        assert bright[core & inside].all() and not bright[~grown & inside].any()
        assert (bright != (moved == 1))[inside].mean() < 0.03


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("seed", range(4))
def test_points_and_boxes_move_along(name, seed):
    mask = np.zeros((64, 48), np.uint8)
    mask[20:33, 15:30] = 1
    transform = drawn(GEOMETRIC[name](), mask[..., None], seed)
    ys, xs = np.nonzero(transform.apply_segmentation(mask))
    centre = transform.apply_coords(np.array([[22.5, 26.5]]))[0]
    # bending moves the middle of an object a little otherwise than its parts
    within = 1.0 if name == "elastic" else 0.3
    np.testing.assert_allclose(centre, [xs.mean() + 0.5, ys.mean() + 0.5], atol=within)
    x0, y0, x1, y1 = transform.apply_box(np.array([[15.0, 20.0, 30.0, 33.0]]))[0]
    slack = 2 if name == "elastic" else 0.75
    assert x0 <= xs.min() + slack and xs.max() + 1 <= x1 + slack
    assert y0 <= ys.min() + slack and ys.max() + 1 <= y1 + slack


def test_points_of_an_elastic_field_go_to_where_pixels_come_from():
    image = np.zeros((64, 64, 1), np.float32)
    transform = drawn(geometry.RandomElastic(6.0), image, 3)
    assert 1 < np.abs(transform.field).max() <= 6.001
    rows, columns = np.mgrid[20:44:6, 20:44:6]
    ends = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5
    starts = ends + transform.field[:, rows.ravel(), columns.ravel()].T
    np.testing.assert_allclose(transform.apply_coords(starts), ends, atol=0.1)
    jacobian = np.eye(2)[:, :, None, None] + np.stack(
        [np.stack(np.gradient(part)[::-1]) for part in transform.field]
    )
    determinant = jacobian[0, 0] * jacobian[1, 1] - jacobian[0, 1] * jacobian[1, 0]
    assert determinant.min() > 0.1  # it does not fold


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [*GEOMETRIC, *PHOTOMETRIC])
def test_any_channels_and_dtype_and_the_same_again(name, shape, dtype):
    augmentation = {**GEOMETRIC, **PHOTOMETRIC}[name]()
    image = pixels(shape, dtype)
    before = image.copy()
    transform = drawn(augmentation, image, 1)
    changed = transform.apply_image(image)
    assert changed.dtype == dtype and changed.shape[2] == shape[2]
    assert changed.min() >= 0 and changed.max() <= 255
    assert (image == before).all()
    assert (transform.apply_image(image) == changed).all()
    assert (drawn(augmentation, image, 1).apply_image(image) == changed).all()
    if name in PHOTOMETRIC:
        assert changed.shape == shape
        assert ((changed != image).mean() > 0.5) == (name != "stain" or shape[2] == 3)
        mask = blobs(0)
        assert transform.apply_segmentation(mask) is mask
    if name in ("turn", "elastic", "noise", "gamma", "blur"):
        assert (drawn(augmentation, image, 2).apply_image(image) != changed).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", NOTHING)
def test_strength_zero_changes_nothing(name, dtype):
    image = pixels((40, 30, 3), dtype)
    transform = drawn(NOTHING[name](), image)
    np.testing.assert_allclose(transform.apply_image(image), image, atol=1e-3, rtol=0)
    mask = blobs(1, (40, 30))
    assert (transform.apply_segmentation(mask) == mask).all()


@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_are_exact(turns):
    image = pixels((5, 7, 2), np.uint8)
    transform = geometry.QuarterTurns(5, 7, turns)
    turned = transform.apply_image(image)
    assert (turned == np.rot90(image, turns)).all()
    assert (transform.inverse().apply_image(turned) == image).all()
    points = np.array([[0.5, 0.5], [6.5, 0.5], [2.5, 3.5]])
    for (x, y), (u, v) in zip(points, transform.apply_coords(points)):
        assert (image[int(y), int(x)] == turned[int(v), int(u)]).all()
    np.testing.assert_allclose(
        transform.inverse().apply_coords(transform.apply_coords(points)), points
    )


def test_corners_have_the_median_of_each_channel():
    image = np.zeros((40, 40, 6), np.uint8) + np.arange(10, 70, 10, dtype=np.uint8)
    turned = geometry.Turn(40, 40, 45, expand=False).apply_image(image)
    assert (turned == image).all()
    assert geometry.Turn(40, 40, 45, expand=False).apply_segmentation(image[..., 0] + 1)[0, 0] == 0


def test_values():
    grey = np.array([[[0], [51], [255]]], np.uint8)
    assert values.ValueTransform(values._negative).apply_image(grey).ravel().tolist() == [
        255,
        204,
        0,
    ]
    squared = drawn(values.RandomGamma(2, 2), grey).apply_image(grey)
    assert squared.ravel().tolist() == [0, 10, 255]
    flat = np.full((64, 64, 5), 100, np.float32)
    noisy = drawn(values.RandomNoise(8, 8), flat).apply_image(flat)
    assert 7 < noisy.std() < 9 and abs(noisy.mean() - 100) < 1
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.1
    spot = np.zeros((41, 41, 5), np.float32)
    spot[20, 20] = 255
    blurred = drawn(values.RandomBlur(2, 2), spot).apply_image(spot)
    expected = ndimage.gaussian_filter(spot, (2, 2, 0), truncate=5)
    np.testing.assert_allclose(blurred, expected, atol=0.1)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_stains_of_colour_images_only(order):
    grey = np.repeat(pixels((20, 20, 1), np.uint8), 3, axis=2)
    assert (drawn(values.RandomStain(0.9), grey).apply_image(grey) == grey).all()
    white_and_violet = np.full((20, 20, 3), 255, np.uint8)
    white_and_violet[:10] = (120, 70, 150)
    image = white_and_violet[..., list(order)]
    changed = drawn(values.RandomStain(0.4, order), image, 5).apply_image(image)
    assert (changed[10:] == 255).all()  # no stain, none to change
    assert (changed[:10] != image[:10]).any()
    same = drawn(values.RandomStain(0.4), white_and_violet, 5).apply_image(white_and_violet)
    assert (changed[..., list(order)] == same).all()


def test_more_points_than_opencv_looks_up_at_once():
    np.random.seed(0)
    elastic = geometry.RandomElastic(4.0).get_transform(np.zeros((64, 64, 1), np.uint8))
    points = np.random.uniform(0, 64, (40000, 2))
    moved = elastic.apply_coords(points)
    np.testing.assert_array_equal(moved[-100:], elastic.apply_coords(points[-100:]))
