import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from maskrcnnpp.errors import DataError
from maskrcnnpp.images import find_images, open_image

TIFF_FILES = "maskrcnnpp.images.tiff"
RANDOM = np.random.default_rng(0)


def values(*shape, dtype=np.uint8):
    return RANDOM.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def pixels_of(path, channels=None):
    with open_image(path, channels) as raster:
        pixels = raster.region(0, 0, raster.height, raster.width)
        assert pixels.shape == raster.shape and pixels.dtype == raster.dtype
    return pixels


@pytest.mark.parametrize(
    ("ending", "channels"),
    [
        ("png", 1),
        ("png", 3),
        ("png", 4),
        ("bmp", 1),
        ("bmp", 3),
        ("tif", 1),
        ("tif", 3),
        ("tif", 4),
    ],
)
def test_8_bits(tmp_path, ending, channels):
    pixels = values(7, 9, channels)
    path = tmp_path / f"an ä image.{ending}"
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    assert (pixels_of(path) == pixels[..., :3]).all()  # alpha is not a colour
    assert open_image(path).micrometres is None


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_of_png(tmp_path, channels):
    pixels = values(7, 9, channels, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    found = pixels_of(tmp_path / "a.png")
    assert found.dtype == np.uint16 and (found == pixels).all()


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (5, 6)), ("YXS", (5, 6, 3)), ("CYX", (2, 5, 6)), ("ZCYX", (1, 4, 5, 6))],
)
def test_axes_of_ome_tiff(tmp_path, axes, shape):
    pixels = values(*shape, dtype=np.uint16)
    metadata = {"axes": axes, "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
    photometric = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=metadata, photometric=photometric)
    channels = {"CYX": [1], "ZCYX": [0, 1, 2]}.get(axes)
    found = pixels_of(tmp_path / "a.ome.tif", channels)
    assert found.shape[:2] == (5, 6)
    assert open_image(tmp_path / "a.ome.tif", channels).micrometres == 0.25
    if axes == "CYX":
        assert (found[..., 0] == pixels[1]).all()
    if axes == "ZCYX":
        assert (found == pixels[0, :3].transpose(1, 2, 0)).all()


def test_pixel_size_of_imagej(tmp_path):
    options = {"imagej": True, "resolution": (4, 4), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "a.tif", values(5, 6, dtype=np.uint16), **options)
    assert open_image(tmp_path / "a.tif").micrometres == 0.25


@pytest.mark.parametrize(
    ("unit", "side", "expected"),
    [
        ("um", 4, 0.25),
        ("microns", 2, 0.5),
        ("cm", 4e4, 0.25),
        ("inch", 25400 * 2, 0.5),
        ("ft", 1, None),
    ],
)
def test_units_of_imagej(tmp_path, unit, side, expected):
    options = {"imagej": True, "resolution": (side, side), "metadata": {"unit": unit}}
    tifffile.imwrite(tmp_path / "a.tif", values(5, 6, dtype=np.uint16), **options)
    assert open_image(tmp_path / "a.tif").micrometres == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unit", "resolution", "expected"),
    [
        ("CENTIMETER", (40000, 40000), 0.25),
        ("INCH", (50800, 50800), 0.5),
        ("INCH", (300, 300), None),  # of a print
        ("CENTIMETER", (118, 118), None),
        ("CENTIMETER", (40000, 20000), None),
        ("NONE", (4, 4), None),
    ],
)
def test_pixel_size_of_the_tags_of_a_plain_tiff(tmp_path, unit, resolution, expected):
    options = {"resolution": resolution, "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "a.tif", values(5, 6), metadata=None, **options)
    found = open_image(tmp_path / "a.tif").micrometres
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_other_numbers(tmp_path, dtype):
    pixels = np.arange(30).reshape(5, 6).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tiff", pixels)
    found = pixels_of(tmp_path / "a.tiff")
    assert found.dtype == dtype and (found[..., 0] == pixels).all()


def test_channels_are_chosen(tmp_path):
    pixels = values(5, 20, 30)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "CYX"}, ome=True)
    with pytest.raises(DataError, match=r"a.tif has 5 channels; choose .* of 0..4 with --channels"):
        open_image(tmp_path / "a.tif")
    found = pixels_of(tmp_path / "a.tif", [4, 0, 2])
    assert (found == pixels[[4, 0, 2]].transpose(1, 2, 0)).all()
    found = pixels_of(tmp_path / "a.tif", [4, 3, 2, 1, 0])
    assert (found == pixels[::-1].transpose(1, 2, 0)).all()
    for channels, words in (([5], "channels 0..4, not all"), ([], "no channel is chosen")):
        with pytest.raises(DataError, match=words):
            open_image(tmp_path / "a.tif", channels)


def broken(folder):
    """Files that are no image, by what is wrong with them."""
    (folder / "text.png").write_text("no image at all")
    (folder / "empty.tif").write_bytes(b"")
    Image.fromarray(values(60, 60, 3)).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:4000])
    Image.fromarray(values(60, 60, 3)).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    tifffile.imwrite(folder / "whole.tif", values(60, 60))
    (folder / "cut.tif").write_bytes((folder / "whole.tif").read_bytes()[:2000])
    metadata = {"axes": "TZCYX"}
    tifffile.imwrite(folder / "stack.tif", values(2, 3, 2, 8, 9), metadata=metadata, ome=True)
    tifffile.imwrite(folder / "planes.tif", values(6, 8, 9))
    return ["text.png", "empty.tif", "cut.png", "cut.jpg", "cut.tif", "stack.tif", "planes.tif"]


def test_files_that_are_no_image_are_named(tmp_path):
    for name in broken(tmp_path):
        with pytest.raises(DataError, match=name):
            open_image(tmp_path / name)
    with pytest.raises(DataError, match="stack with the axes t 2, z 3, c 2, y 8, x 9"):
        open_image(tmp_path / "stack.tif")
    (tmp_path / "zero.jpg").touch()
    for name, reason in (("text.png", "not an image of a kind"), ("zero.jpg", "it is empty")):
        with pytest.raises(DataError, match=f"{name} cannot be read as an image: .*{reason}"):
            open_image(tmp_path / name)
    with pytest.raises(DataError, match="nowhere.png cannot be read"):
        open_image(tmp_path / "nowhere.png")


def test_files_folders_and_patterns(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.PNG", "a.tif", "notes.txt", "sub/c.png"):
        (tmp_path / name).touch()
    names = [p.name for p in find_images([str(tmp_path), str(tmp_path / "*" / "*.png")])]
    assert names == ["a.tif", "b.PNG", "c.png"]
    twice = find_images([str(tmp_path / "a.tif"), str(tmp_path / "*.tif")])
    assert [p.name for p in twice] == ["a.tif"]
    for word in ("nowhere", "*.svs"):
        with pytest.raises(DataError, match="no such file or folder"):
            find_images([str(tmp_path / word)])
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "._a.png").touch()  # macOS puts it beside a.png on other disks
    with pytest.raises(DataError, match=r"has no image: [^;]*$"):
        find_images([str(tmp_path / "none")])
    (tmp_path / "none" / "well").mkdir()
    with pytest.raises(DataError, match=r"below are not searched: .* such as '.*none/\*/\*.tif'"):
        find_images([str(tmp_path / "none")])


def test_what_shows_an_image_again_is_no_image(tmp_path):
    images = [
        "a.tif",
        "b.png",
        "c_img.png",
        "mask.png",
        "d_mask.png",
        "e.ome.tif",
        "f.png.jpg",
        "a.tif.aligned.tif",
    ]
    others = ["a_masks.tif", "a_cp_masks.png", "b.png.labels.tif", "b.png.overlay.png"]
    others += ["c_masks.png", "b_outlines.png", "e.ome.tif.labels.tif", "e_Mask.tif"]
    pictures = ["g.gif", "h.webp"]
    for name in (*images, *others, *pictures, "notes.txt"):
        (tmp_path / name).touch()
    told = []
    found = find_images([str(tmp_path)], told.append)
    assert [path.name for path in found] == sorted(images)
    assert f"{tmp_path}/g.gif and 1 more, which end in none of .png" in told[0]
    assert f"{tmp_path}/a_cp_masks.png and 7 more, which belong to images beside them" in told[1]
    told.clear()
    assert len(find_images([str(tmp_path / "*.png")], told.append)) == 5 and "belong" in told[0]
    told.clear()
    named = [str(tmp_path / name) for name in (*others, *pictures)]  # as the user wants it
    assert len(find_images(named, told.append)) == len(named) and not told


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "inside")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match=f"^{tmp_path} cannot be read: Permission denied$"):
        find_images([str(tmp_path)])


def test_fluorescence_channels_are_no_colours(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values(4, 8, 9), metadata={"axes": "CYX"}, ome=True)
    with pytest.raises(DataError, match="4 channels; choose"):
        open_image(tmp_path / "a.tif")


def test_what_black_is_in_a_tiff(tmp_path):
    grey = values(5, 6)
    tifffile.imwrite(tmp_path / "white.tif", grey, photometric="miniswhite")
    assert (pixels_of(tmp_path / "white.tif")[..., 0] == 255 - grey).all()
    bits = Image.fromarray(grey > 127)
    bits.save(tmp_path / "bits.tif")
    assert (pixels_of(tmp_path / "bits.tif")[..., 0] == np.where(grey > 127, 255, 0)).all()
    colours = Image.fromarray(values(5, 6, 3)).quantize(8)
    colours.save(tmp_path / "palette.tif")
    found = pixels_of(tmp_path / "palette.tif")
    assert (found == np.asarray(colours.convert("RGB"))).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_camera_was(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for shape in ((40, 60, 3), (40, 60)):
        Image.fromarray(values(*shape)).save(tmp_path / "a.png", exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
        assert (pixels_of(tmp_path / "a.png") == expected.reshape(*expected.shape[:2], -1)).all()
    Image.fromarray(values(40, 60, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert pixels_of(tmp_path / "a.jpg").shape == ((60, 40, 3) if orientation > 4 else (40, 60, 3))


def test_a_tiff_that_is_to_be_turned_is_refused(tmp_path):
    for value in (0, 1, 6):
        tag = (274, "H", 1, value, True)
        tifffile.imwrite(tmp_path / f"{value}.tif", values(5, 6), extratags=[tag], metadata=None)
    for value in (0, 1):
        assert pixels_of(tmp_path / f"{value}.tif").shape == (5, 6, 1)
    with pytest.raises(DataError, match="6.tif is to be turned or mirrored .*tag is 6"):
        pixels_of(tmp_path / "6.tif")


def test_an_array_of_unnamed_planes_says_how_to_name_them(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values(2, 64, 64))
    with pytest.raises(DataError, match="a.tif is a stack .*metadata={'axes': 'CYX'}, ome=True"):
        pixels_of(tmp_path / "a.tif")


def test_a_pixel_size_that_is_odd_is_no_reason_to_refuse_an_image(tmp_path):
    metadata = {"axes": "YX", "PhysicalSizeX": 1, "PhysicalSizeXUnit": "ft"}
    tifffile.imwrite(tmp_path / "a.ome.tif", values(5, 6), metadata=metadata)
    assert open_image(tmp_path / "a.ome.tif").micrometres is None
    description = '<OME><BinaryOnly MetadataFile="other.ome" UUID="urn:uuid:0"/></OME>'
    tifffile.imwrite(tmp_path / "b.tif", values(5, 6), description=description, metadata=None)
    assert pixels_of(tmp_path / "b.tif").shape == (5, 6, 1)
