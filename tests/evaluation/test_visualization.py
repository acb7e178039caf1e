"""Outlines where they must be, colours that differ, sheets of the right shape."""

from __future__ import annotations

import cv2
import numpy as np
import pycocotools.mask as mask_util
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnnpp.errors import DataError
from maskrcnnpp.visualization import (
    PALETTE,
    Panel,
    SheetRow,
    _outline,
    contact_sheet,
    write_contact_sheet,
)


def draw_outlines(image, masks):
    """At the size of the image, with lines of 1."""
    canvas = image.copy()
    _outline(canvas, masks, image.shape[:2], 1.0, 1)
    return canvas


def rle(mask):
    return mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))


def square(y, x, side, shape=(40, 50)):
    mask = np.zeros(shape, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def border(mask):
    """Pixels of the mask with a 4-neighbour outside it."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def painted(image):
    return (image == PALETTE[0]).all(-1)


@pytest.mark.parametrize(("y", "x", "side"), [(5, 7, 9), (0, 0, 6), (30, 40, 10), (3, 3, 1)])
def test_a_line_of_1_covers_the_border_pixels_of_the_mask(y, x, side):
    image = np.full((40, 50, 3), 9, dtype=np.uint8)
    mask = square(y, x, side)
    drawn = draw_outlines(image, [rle(mask)])
    assert (painted(drawn) == border(mask)).all()
    assert (image == 9).all()


@settings(max_examples=30, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_a_line_of_1_covers_the_border_of_any_mask(seed):
    noise = np.random.default_rng(seed).random((24, 30)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), 2) > 0.5
    drawn = draw_outlines(np.zeros((24, 30, 3), dtype=np.uint8), [rle(mask)])
    outer = border(mask)
    assert painted(drawn)[outer].all()
    assert not painted(drawn)[~mask].any()
    padded = np.pad(mask, 1).astype(np.uint8)
    inner = cv2.erode(padded, np.ones((3, 3)))[1:-1, 1:-1] > 0
    assert not painted(drawn)[inner].any()


def test_holes_have_an_outline_too():
    mask = square(5, 5, 20) & ~square(12, 12, 6)
    drawn = draw_outlines(np.zeros((40, 50, 3), dtype=np.uint8), [rle(mask)])
    assert painted(drawn)[11, 14] and painted(drawn)[5, 14]
    assert not painted(drawn)[14, 14]


def test_touching_objects_have_different_colours():
    masks = [square(8 * row, 8 * column, 8) for row in range(5) for column in range(5)]
    drawn = draw_outlines(np.zeros((40, 50, 3), dtype=np.uint8), [rle(mask) for mask in masks])
    colors = {}
    for row in range(5):
        for column in range(5):
            corner = drawn[8 * row, 8 * column]
            assert corner.any()
            colors[row, column] = tuple(corner.tolist())
    for row, column in colors:
        for neighbour in ((row + 1, column), (row, column + 1), (row + 1, column + 1)):
            assert colors.get(neighbour) != colors[row, column]


def test_nothing_to_draw():
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    assert (draw_outlines(image, []) == image).all()
    empty = rle(np.zeros((40, 50), dtype=bool))
    assert (draw_outlines(image, [empty]) == image).all()


def test_a_mask_of_another_size_is_refused():
    image = np.zeros((40, 50, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"\(50, 40\).*\(40, 50\)"):
        draw_outlines(image, [rle(square(1, 1, 4, (50, 40)))])


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 4), (0, 50, 3)])
def test_images_that_are_not_rgb_are_refused(shape):
    for image in (np.zeros(shape, dtype=np.uint8), np.zeros((4, 5, 3), dtype=np.float32)):
        with pytest.raises(ValueError, match="height x width x 3"):
            contact_sheet([SheetRow("a.png", image, [Panel([]), Panel([])])])


def row(shape, truth=(), predicted=(), scores=(), title="a.png"):
    image = np.full((*shape, 3), 128, dtype=np.uint8)
    return SheetRow(
        title, image, [Panel([rle(m) for m in truth]), Panel([rle(m) for m in predicted], scores)]
    )


@pytest.mark.parametrize(
    ("shape", "cell"),
    [
        ((50, 50), (200, 200)),
        ((800, 400), (300, 150)),
        ((100, 400), (50, 200)),
        ((9, 1), (300, 33)),
    ],
)
def test_sheet_shape_follows_the_images(shape, cell):
    width = 3 * 200 + 4 * 8
    empty = contact_sheet([], cell_width=200)
    sheet = contact_sheet([row(shape), row(shape)], cell_width=200)
    assert sheet.dtype == np.uint8
    assert empty.shape[1:] == sheet.shape[1:] == (width, 3)
    band = (sheet.shape[0] - empty.shape[0]) // 2
    assert band == 2 * 18 + cell[0] + 8
    grey = (sheet[empty.shape[0] + 36 :][: cell[0]] == 128).all(-1)
    for left in (8, 216, 424):
        assert grey[:, left : left + cell[1]].all()
        assert not grey[:, left + cell[1] : left + 200].any()


def test_columns_show_image_truth_and_prediction():
    shown = row((40, 50), [square(10, 10, 20)], [square(2, 25, 8)], [0.75])
    sheet = contact_sheet([shown], cell_width=200)
    cells = sheet[-8 - 160 : -8]
    plain, truth, predicted = (cells[:, left : left + 200] for left in (8, 216, 424))
    assert (plain == 128).all()
    scale = 4

    def differs(cell, y, x):
        return (cell[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale] != 128).any()

    assert differs(truth, 10, 15) and not differs(truth, 20, 20) and not differs(truth, 2, 28)
    assert differs(predicted, 2, 28) and not differs(predicted, 10, 15)


def test_sheet_of_many_objects():
    many = [square(4 * (k // 25) % 60, 4 * (k % 25), 3, (64, 100)) for k in range(300)]
    sheet = contact_sheet([row((64, 100), many, many, [0.5] * 300)], cell_width=200)
    assert (sheet[-8 - 128 : -8, 216:416] != 128).any(-1).mean() > 0.3


def test_lines_are_thicker_on_large_objects():
    def inked(side):
        sheet = contact_sheet([row((50, 50), [square(5, 5, side, (50, 50))])], cell_width=100)
        return (sheet[-8 - 100 : -8, 116:216] != 128).any(-1).sum() / side

    assert inked(30) > 1.3 * inked(10)


def test_long_and_foreign_names_fit():
    plain = contact_sheet([row((20, 20))], cell_width=64)
    sheet = contact_sheet([row((20, 20), title="zellkerne_groß/" + "x" * 300)], cell_width=64)
    assert sheet.shape == plain.shape
    assert (sheet[:, -8:] == plain[:, -8:]).all()


def test_cell_width_has_a_floor():
    with pytest.raises(ValueError, match="cell_width"):
        contact_sheet([], cell_width=10)


def test_written_sheet_is_rgb(tmp_path):
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    image[..., 0] = 200  # red
    image[0] = 255
    path = tmp_path / "new" / "sheet.png"
    write_contact_sheet(path, [SheetRow("a", image, [Panel([]), Panel([])])], cell_width=64)
    read = cv2.imread(str(path))
    blue, _, red = read[-30, 20].tolist()
    assert red > 150 and blue < 50
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]


def test_columns_of_ones_own():
    sheet = contact_sheet(
        [SheetRow("a", np.zeros((20, 20, 3), np.uint8), [Panel([])] * 3)],
        cell_width=64,
        columns=("truth", "one model", "another"),
    )
    assert sheet.shape[1] == 4 * 64 + 5 * 8
    with pytest.raises(ValueError, match="3 panels"):
        contact_sheet([SheetRow("a", np.zeros((20, 20, 3), np.uint8), [Panel([])] * 3)])
