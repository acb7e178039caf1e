"""CZI, LIF and ND2, written as their formats say, and read through bioio."""

import sys

import numpy as np
import pytest
from microscope_files import write_czi, write_lif, write_nd2

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import find_images, image_kind, image_size, open_image

pytest.importorskip("bioio")
PIXELS = np.random.default_rng(0).integers(0, 4000, (3, 2, 40, 50)).astype(np.uint16)


def written(folder, kind, pixels=PIXELS):
    path = folder / f"a.{kind}"
    if kind == "czi":
        pytest.importorskip("bioio_czi")
        return write_czi(path, pixels)
    pytest.importorskip(f"bioio_{kind}")
    return write_lif(path, {"one": pixels}) if kind == "lif" else write_nd2(path, pixels)


@pytest.mark.parametrize("kind", ["czi", "lif", "nd2"])
def test_planes_channels_and_sizes_of_pixels(tmp_path, kind):
    path = written(tmp_path, kind)
    with open_image(path, [1, 0], stacks=True) as raster:
        assert dict(raster.stack) == {"z": 3} and raster.planes == 3
        assert raster.shape == (40, 50, 2) and raster.dtype == np.uint16
        assert raster.micrometres == pytest.approx(0.5) and not raster.is_colour
        assert len(raster.channel_names) == 2 and raster.steps["z"][1] == "micrometer"
        for raster.plane in (2, 0):
            expected = np.moveaxis(PIXELS[raster.plane, ::-1], 0, -1)
            np.testing.assert_array_equal(raster.whole(), expected)
            np.testing.assert_array_equal(raster.region(3, 4, 20, 30), expected[3:20, 4:30])
    with pytest.raises(DataError, match=rf"a.{kind} is a stack with the axes z 3, c 2, y 40, x 50"):
        open_image(path)
    assert find_images([str(tmp_path)]) == [path]


@pytest.mark.parametrize("kind", ["czi", "lif", "nd2"])
def test_one_plane_is_an_image(tmp_path, kind):
    path = written(tmp_path, kind, PIXELS[:1, :1])
    with open_image(path) as raster:
        np.testing.assert_array_equal(raster.whole()[..., 0], PIXELS[0, 0])
    assert image_kind(path)[:3] == ("uint16", 1, True) and image_size(path) == (40, 50)


def test_colours_of_a_czi_are_red_first(tmp_path):
    pytest.importorskip("bioio_czi")
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    with open_image(write_czi(tmp_path / "a.czi", colours)) as raster:
        assert raster.is_colour and raster.shape == (40, 50, 3)
        np.testing.assert_array_equal(raster.whole(), colours)


def test_scenes_are_named_and_chosen(tmp_path):
    pytest.importorskip("bioio_lif")
    scenes = {"day 1": PIXELS[:1, :1], "day 2": PIXELS[1:2, :1]}
    path = write_lif(tmp_path / "a.lif", scenes)
    with pytest.raises(DataError, match=r"2 scenes \(0 day 1, 1 day 2\): choose one with --scene"):
        open_image(path)
    for scene in ("day 2", "1"):
        with open_image(path, scene=scene) as raster:
            np.testing.assert_array_equal(raster.whole()[..., 0], PIXELS[1, 0])
    for scene in ("day 3", "2"):
        with pytest.raises(DataError, match=f"a.lif has no scene {scene}; it has 0 day 1, 1 day 2"):
            open_image(path, scene=scene)
    with pytest.raises(DataError, match=r"a.png has one image: --scene is for CZI, LIF and ND2"):
        open_image(tmp_path / "a.png", scene="1")


@pytest.mark.parametrize("kind", ["czi", "lif", "nd2"])
def test_what_cannot_be_read_is_named(tmp_path, kind, monkeypatch, caplog):
    (tmp_path / f"bad.{kind}").write_bytes(b"no image at all" * 99)
    with pytest.raises(DataError, match=rf"bad.{kind} cannot be read as an image: "):
        open_image(tmp_path / f"bad.{kind}")
    assert not caplog.text
    monkeypatch.setitem(sys.modules, f"bioio_{kind}", None)
    message = rf"bad.{kind} needs bioio-{kind}: pip install 'maskrcnnpp\[bioio\]'"
    with pytest.raises(DataError, match=message):
        open_image(tmp_path / f"bad.{kind}")
