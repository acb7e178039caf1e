"""Files of other programs and people; tests/files/README.md says from where."""

import shutil
from pathlib import Path

import numpy as np
import tifffile
from pycocotools import mask as coco_mask

from maskrcnnpp.data.image_io import image_kind, open_image
from maskrcnnpp.data.problems import ProblemLog
from maskrcnnpp.data.readers.labels import LabelsReader

FILES = Path(__file__).parents[1] / "files"


def test_stardists_example_pair(tmp_path):
    for folder, file in (("images", "stardist_image.tif"), ("masks", "stardist_labels.tif")):
        (tmp_path / folder).mkdir()
        shutil.copy(FILES / file, tmp_path / folder / "a.tif")
    problems = ProblemLog()
    (sample,) = LabelsReader(tmp_path, problems).read(workers=0)
    labels = tifffile.imread(FILES / "stardist_labels.tif")
    numbers = [number for number in np.unique(labels) if number]
    assert not problems and len(sample.masks) == len(numbers) == 7
    for number, mask in zip(numbers, sample.masks):
        assert (coco_mask.decode(mask).astype(bool) == (labels == number)).all()
    # 16 bits under any name, of which 8 would hold these numbers too
    for ending in ("tif", "lsm", "png"):
        shutil.copy(FILES / "stardist_image.tif", tmp_path / f"a.{ending}")
        assert image_kind(tmp_path / f"a.{ending}").dtype == "uint16"
        with open_image(tmp_path / f"a.{ending}") as raster:
            pixels = raster.whole()
        assert (pixels.dtype, pixels.max()) == (np.uint16, 79)
