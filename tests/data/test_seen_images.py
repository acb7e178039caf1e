import json

import numpy as np
import pytest
import tifffile
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from maskrcnnpp import add_maskrcnnpp_config
from maskrcnnpp.data.seen_images import check_images_are_read
from maskrcnnpp.errors import ConfigError

NAME = "seen_images_for_tests"


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_maskrcnnpp_config(cfg)
    return cfg


@pytest.fixture
def register(tmp_path):
    def register(names):
        truth = {"images": [{"file_name": name} for name in names]}
        (tmp_path / "a.json").write_text(json.dumps(truth))
        DatasetCatalog.register(NAME, list)
        MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "a.json"), image_root=str(tmp_path))

    yield register
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_photographs_pass(cfg, register, tmp_path):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "b.jpg")
    register(["a.png", "b.jpg", "missing.png", None])
    check_images_are_read(cfg, NAME)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((4, 5), np.uint16, r"last.tif is uint16 with 1 channel, .*: set INPUT.PERCENTILES"),
        ((2, 4, 5), np.uint16, r"2 channels.*INPUT.CHANNELS .*\[0, 1\].*PERCENTILES.*entries \(2"),
        ((5, 4, 5), np.uint8, r"5 channels, .*: set INPUT.CHANNELS to those"),
        ((4, 5), np.float32, "is float32"),
    ],
)
def test_others_say_what_to_set(cfg, register, tmp_path, shape, dtype, words):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
    axes = {"axes": "CYX"[-len(shape) :]}
    tifffile.imwrite(tmp_path / "last.tif", np.zeros(shape, dtype), metadata=axes, ome=True)
    register(["a.png"] * 50 + ["last.tif"])
    with pytest.raises(ConfigError, match=words):
        check_images_are_read(cfg, NAME)
    cfg.INPUT.PERCENTILES = [1.0, 99.0]
    check_images_are_read(cfg, NAME)
