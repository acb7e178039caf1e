"""Pictures and TIFF stacks as sources of semantic data sets."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from semantic_source import (
    THIRDS,
    convert,
    items_of,
    masks,
    numbers,
    save,
    save_tiff,
    write_pictures,
)

from maskrcnnpp.convert.semantic.source import Reading, read_source
from maskrcnnpp.convert.semantic.write import drawn_splits
from maskrcnnpp.errors import ConfigError, DataError


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path)


@pytest.mark.parametrize("kind", ["palette", "floats", "bits", "uint16"])
def test_masks_saved_in_other_ways(pictures, kind):
    raw = masks(6, 8, seed=0, light=1)
    path = pictures / "labels" / "a.png"
    light = 1
    if kind == "palette":
        picture = Image.fromarray(raw, "P")
        picture.putpalette([0, 0, 0, 200, 0, 0])
        picture.save(path)
    elif kind == "bits":
        save(path, raw.astype(bool))
        light = 255
    else:
        path.unlink()
        dtype = np.float32 if kind == "floats" else np.uint16
        save_tiff(pictures / "labels" / "a.tif", raw.astype(dtype))
    assert (items_of(pictures)[0].raw == raw * light).all()


def test_labels_in_colours_are_refused(pictures):
    save(pictures / "labels" / "b.png", numbers(6, 8, 3))
    with pytest.raises(DataError, match=r"b\.png has labels of several channels"):
        convert(pictures)


def test_a_file_without_partner(pictures):
    (pictures / "labels" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 images in .* without a label image in .*: b\.png"):
        items_of(pictures)
    (pictures / "images" / "b.png").unlink()
    (pictures / "images" / "c.png").unlink()
    with pytest.raises(DataError, match=r"1 label images in .* without an image in .*: c\.png"):
        items_of(pictures)


def test_files_in_folders_of_their_own_are_not_left_out_silently(pictures):
    save(pictures / "images" / "more" / "x.png", numbers(8, 8))
    with pytest.raises(DataError, match=r"has files in folders of its own, such as .*x\.png"):
        items_of(pictures)


def test_two_files_of_a_name(pictures):
    save(pictures / "images" / "a.bmp", numbers(6, 8))
    with pytest.raises(DataError, match=r"a\.bmp and a\.png both stand for 'a'"):
        items_of(pictures)


def test_other_sizes_and_types(pictures):
    save(pictures / "labels" / "b.png", masks(5, 8))
    with pytest.raises(DataError, match=r"labels.b\.png has 5x8 pixels, its image .*b\.png 6x8"):
        convert(pictures)
    (pictures / "images" / "a.png").unlink()
    save_tiff(pictures / "images" / "a.tif", numbers(6, 8).astype(np.float32))
    with pytest.raises(DataError, match=r"a\.tif is float32.*--window LEVEL WIDTH"):
        convert(pictures)
    assert items_of(pictures, window=(128, 256))[0].image.dtype == np.uint8


def test_paths_that_do_not_fit(pictures):
    with pytest.raises(DataError, match="nowhere does not exist"):
        list(read_source(pictures / "nowhere", pictures / "labels"))
    with pytest.raises(DataError, match="two files or two folders"):
        list(read_source(pictures / "images", pictures / "labels" / "a.png"))
    (pictures / "empty").mkdir()
    with pytest.raises(DataError, match="has no file that ends in"):
        list(read_source(pictures / "empty", pictures / "labels"))
    (pictures / "labels" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"labels.a\.png cannot be read"):
        items_of(pictures)


def test_a_stack_of_planes(tmp_path):
    volume, labels = numbers(4, 6, 8), masks(4, 6, 8)
    images = save_tiff(tmp_path / "train-volume.tif", volume)
    truth = save_tiff(tmp_path / "train-labels.tif", labels, compression="zlib")
    items = list(read_source(images, truth))
    assert [item.name for item in items] == [f"train-volume_z{k:03d}" for k in range(4)]
    assert all(item.group is None for item in items)
    assert (np.stack([item.image for item in items]) == volume).all()
    assert (np.stack([item.raw for item in items]) == labels).all()


def test_a_stack_whose_planes_were_added_one_by_one(tmp_path):
    volume = numbers(3, 6, 8, 3)
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for plane in volume:
            file.write(plane, photometric="rgb", compression="zlib")
    labels = masks(3, 6, 8)
    with tifffile.TiffWriter(tmp_path / "l.tif") as file:
        for plane in labels:
            file.write(plane > 0, photometric="miniswhite")  # black where a bit is set
    items = list(read_source(tmp_path / "v.tif", tmp_path / "l.tif"))
    assert (np.stack([item.image for item in items]) == volume).all()
    assert (np.stack([item.raw for item in items]) == 255 - labels).all()


def test_planes_of_one_of_several_stacks_stay_together(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        options = {"imagej": True, "metadata": {"axes": "ZYX"}}  # big-endian
        volume = numbers(3, 6, 8, seed=number, high=60000, dtype=np.uint16)
        save_tiff(tmp_path / "images" / f"{name}.tif", volume, **options)
        save_tiff(tmp_path / "labels" / f"{name}.tif", masks(3, 6, 8, seed=number), **options)
    assert {item.group for item in items_of(tmp_path)} == {"a", "b", "c"}
    _, splits = convert(tmp_path, draw=lambda records: drawn_splits(records, THIRDS))
    assert all(len({name[0] for name in names}) == 1 for names in splits.values())
    picture = np.array(Image.open(tmp_path / "out" / "images" / "a_z002.png"))
    assert (picture == numbers(3, 6, 8, high=60000, dtype=np.uint16)[2]).all()


def test_stacks_that_do_not_fit(tmp_path):
    volume = save_tiff(tmp_path / "v.tif", numbers(4, 6, 8))
    with pytest.raises(DataError, match=r"v\.tif has 4 planes, .*l\.tif 3"):
        list(read_source(volume, save_tiff(tmp_path / "l.tif", masks(3, 6, 8))))
    with pytest.raises(DataError, match="one is a stack of planes"):
        list(read_source(volume, save_tiff(tmp_path / "l.tif", masks(6, 8))))
    with pytest.raises(DataError, match=r"l\.tif has the axes .*a stack has planes, Y and X"):
        list(read_source(volume, save_tiff(tmp_path / "l.tif", masks(2, 4, 6, 8))))
    content = volume.read_bytes()
    volume.write_bytes(content[: len(content) - 100])
    with pytest.raises(DataError, match=r"v\.tif (is cut short|cannot be read)"):
        list(read_source(volume, volume))


@pytest.mark.parametrize("options", [{"axis": 3}, {"window": (0, 0)}, {"window": (np.nan, 1)}])
def test_impossible_ways_to_read(options):
    with pytest.raises(ConfigError, match="--axis|--window"):
        Reading(**options)
