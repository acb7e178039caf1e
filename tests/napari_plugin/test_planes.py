"""Which pixels of a layer are looked at."""

from types import SimpleNamespace

import numpy as np
import pytest

from maskrcnnpp.errors import DataError
from maskrcnnpp.napari.planes import ALL, COLOUR, SHOWN, channel_choices, labels_of, plane_of, says

POINT = (0.0, 0.0)


def test_a_grey_picture(make_layer, picture):
    layer = make_layer(picture)
    assert channel_choices(layer) == [SHOWN] and says(layer, POINT) == ""
    plane = plane_of(layer, POINT, SHOWN)
    assert plane.name == "cells" and plane.is_colour and plane.micrometres is None
    assert np.array_equal(plane.pixels[..., 0], picture)
    assert plane.raster().shape == (64, 64, 1)


def test_colours_without_alpha_and_one_of_them(make_layer):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 4), dtype=np.uint8)
    layer = make_layer(pixels, rgb=True)
    assert channel_choices(layer) == [COLOUR, "red", "green", "blue"]
    assert np.array_equal(plane_of(layer, POINT, COLOUR).pixels, pixels[..., :3])
    assert np.array_equal(plane_of(layer, POINT, "blue").pixels, pixels[..., 2:3])


def test_of_a_stack_the_plane_that_is_shown(make_layer):
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    layer = make_layer(data)
    plane = plane_of(layer, (1.0, 1.6, 0, 0), SHOWN)
    assert np.array_equal(plane.pixels[..., 0], data[1, 2]) and plane.name == "cells_1_2"
    assert says(layer, (1.0, 1.6, 0, 0)).startswith("Only the plane that is shown")
    assert "2 of 2, 3 of 3" in says(layer, (1.0, 1.6, 0, 0))
    with pytest.raises(DataError, match="sliders are beside the layer cells"):
        plane_of(layer, (0, 3, 0, 0), SHOWN)


def test_the_first_axis_as_channels(make_layer):
    data = np.arange(2 * 4 * 5).reshape(2, 4, 5)
    layer = make_layer(data)
    assert channel_choices(layer) == [SHOWN, ALL]
    plane = plane_of(layer, (1, 0, 0), ALL)
    assert np.array_equal(plane.pixels, data.transpose(1, 2, 0)) and not plane.is_colour
    assert channel_choices(make_layer(np.zeros((40, 4, 5)))) == [SHOWN]


def test_the_largest_level_of_a_pyramid_and_the_place(make_layer, picture):
    layer = make_layer(
        picture, multiscale=False, scale=np.array([0.5, 0.5]), translate=np.array([3.0, 4.0]),
        units=("micrometer",) * 2, source=SimpleNamespace(path="/data/a:b.tif"),
    )  # fmt: skip
    layer.data, layer.multiscale = [picture, picture[::2, ::2]], True
    plane = plane_of(layer, POINT, SHOWN)
    assert plane.pixels.shape == (64, 64, 1) and plane.name == "a_b.tif"
    assert plane.micrometres == 0.5 and list(plane.place["translate"]) == [3.0, 4.0]


@pytest.mark.parametrize(
    "shape, reason",
    [
        ((2, 2, 2, 4, 4), "5 dimensions .2x2x2x4x4.; at most 4"),
        ((0, 4), "is empty: 0x4 pixels"),
        ((4,), "is no picture"),
    ],
)
def test_what_is_no_picture(make_layer, shape, reason):
    with pytest.raises(DataError, match=reason):
        plane_of(make_layer(np.zeros(shape)), (0,) * len(shape), SHOWN)


def test_no_layer_is_chosen(make_layer, picture):
    with pytest.raises(DataError, match="no image is chosen"):
        plane_of(None, POINT, "")
    plane = plane_of(make_layer(picture), POINT, SHOWN)
    with pytest.raises(DataError, match="no labels are chosen"):
        labels_of(None, POINT, plane)
    for labels, reason in (
        (np.zeros((64, 64), int), "have no object"),
        (np.full((64, 64), -1), "negative numbers"),
        (np.ones((64, 60), int), "of 64x60 pixels, the image of 64x64"),
    ):
        with pytest.raises(DataError, match=reason):
            labels_of(make_layer(labels), POINT, plane)
    stack = np.zeros((3, 64, 64), int)
    stack[2, 1, 1] = 5
    assert labels_of(make_layer(stack), (2, 0, 0), plane)[1, 1] == 5
