import json

import cv2
import numpy as np
import pytest
import tifffile
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from maskrcnnpp import add_maskrcnnpp_config
from maskrcnnpp.data.misread import check_detectron2_reads_correctly
from maskrcnnpp.errors import ConfigError, DataError

NAME = "misread_for_tests"


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_maskrcnnpp_config(cfg)
    return cfg


@pytest.fixture
def register(tmp_path):
    def register(names):
        truth = {"images": [{"file_name": name} for name in names], "categories": []}
        (tmp_path / "a.json").write_text(json.dumps(truth))
        if NAME not in DatasetCatalog:
            DatasetCatalog.register(NAME, list)
        MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "a.json"), image_root=str(tmp_path))

    yield register
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_photographs_pass(cfg, register, tmp_path):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "b.jpg")
    register(["a.png", "b.jpg", "missing.png", None])
    check_detectron2_reads_correctly(cfg, NAME)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((4, 5), np.uint16, r"last.tif is uint16 with 1 channel, .*: set INPUT.PERCENTILES"),
        (
            (2, 4, 5),
            np.uint16,
            r"2 channels.*INPUT.CHANNELS .*\[0\].*PERCENTILES.*\[0, 1\].*entries",
        ),
        ((5, 4, 5), np.uint8, r"5 channels, .*: set INPUT.CHANNELS to the one"),
        ((4, 5), np.float32, "is float32"),
    ],
)
def test_others_say_what_to_set(cfg, register, tmp_path, shape, dtype, words):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
    axes = {"axes": "CYX"[-len(shape) :]}
    tifffile.imwrite(tmp_path / "last.tif", np.zeros(shape, dtype), metadata=axes, ome=True)
    # neither the first nor the last one, nor any of a few between
    register([*["a.png"] * 50, "last.tif", *["a.png"] * 3])
    with pytest.raises(ConfigError, match=words):
        check_detectron2_reads_correctly(cfg, NAME)
    cfg.INPUT.PERCENTILES = [1.0, 99.0]
    if len(shape) == 3:
        with pytest.raises(ConfigError, match="set INPUT.CHANNELS"):
            check_detectron2_reads_correctly(cfg, NAME)
        cfg.INPUT.CHANNELS = [0]
    check_detectron2_reads_correctly(cfg, NAME)


def test_keys_have_to_fit_every_image(cfg, register, tmp_path):
    for channels in (3, 2):
        pixels = np.zeros((channels, 4, 5), np.uint8)
        tifffile.imwrite(tmp_path / f"{channels}.tif", pixels, metadata={"axes": "CYX"}, ome=True)
    cv2.imwrite(str(tmp_path / "grey16.png"), np.zeros((4, 5), np.uint16))
    cfg.INPUT.CHANNELS = [0, 2]
    register(["3.tif"] * 30 + ["2.tif"] + ["3.tif"] * 30)
    with pytest.raises(ConfigError, match=r"2.tif has 2 channels, and INPUT.CHANNELS is \[0, 2\]"):
        check_detectron2_reads_correctly(cfg, NAME)
    register(["3.tif"] * 30 + ["grey16.png"] + ["3.tif"] * 30)
    cfg.INPUT.CHANNELS = [0]
    with pytest.raises(ConfigError, match="grey16.png is uint16 .*set INPUT.PERCENTILES"):
        check_detectron2_reads_correctly(cfg, NAME)


def test_images_of_another_kind_are_reported(cfg, register, tmp_path, caplog):
    tifffile.imwrite(
        tmp_path / "3.tif",
        np.zeros((3, 4, 5), np.uint8),
        photometric="minisblack",
        metadata={"axes": "CYX"},
        ome=True,
    )
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "colour.png")
    cv2.imwrite(str(tmp_path / "grey16.png"), np.zeros((4, 5), np.uint16))
    cfg.INPUT.CHANNELS, cfg.INPUT.PERCENTILES = [0], [1.0, 99.0]
    register(["3.tif", *(f"{n}.tif" for n in range(9)), "colour.png", "grey16.png"])
    check_detectron2_reads_correctly(cfg, NAME)
    assert "1 of uint8 with 3 channels, such as" in caplog.text
    assert "1 of uint16 with grey or colours, such as" in caplog.text and "grey16" in caplog.text


@pytest.mark.parametrize("ending", ["lsm", "stk", "png", "jpg"])
def test_an_ending_does_not_hide_bits(cfg, register, tmp_path, ending):
    tifffile.imwrite(tmp_path / f"a.{ending}", np.zeros((4, 5), np.uint16))
    register([f"a.{ending}"])
    with pytest.raises(ConfigError, match=rf"a.{ending} is uint16 with 1 channel"):
        check_detectron2_reads_correctly(cfg, NAME)


def test_what_detectron2_would_read_otherwise_is_refused(cfg, register, tmp_path):
    with tifffile.TiffWriter(tmp_path / "small_first.tif") as writer:
        for side in (4, 8):
            writer.write(np.zeros((side, side), np.uint8))
    tag = (274, "H", 1, 6, True)
    tifffile.imwrite(tmp_path / "turned.tif", np.zeros((4, 5), np.uint8), extratags=[tag])
    rgbx = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    tifffile.imwrite(tmp_path / "four.tif", np.zeros((4, 5, 4), np.uint8), **rgbx)
    for file, words in (
        ("small_first.tif", "small_first.tif holds several images, and Detectron2 would read the"),
        ("turned.tif", "turned.tif is to be turned"),
        ("four.tif", "four.tif is uint8 with 4 channels"),
    ):
        register([file])
        with pytest.raises((ConfigError, DataError), match=words):
            check_detectron2_reads_correctly(cfg, NAME)


def test_images_that_exif_turns_are_reported(cfg, register, tmp_path, caplog):
    exif = Image.Exif()
    exif[274] = 3
    for file in ("a.jpg", "b.png"):
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / file, exif=exif)
    register(["a.jpg", "b.png"])
    check_detectron2_reads_correctly(cfg, NAME)
    assert "2 of 2 images" in caplog.text and "turned as their EXIF tag says" in caplog.text
