"""Small sources of semantic data sets, and what is made of them."""

import numpy as np
import pytest
import tifffile
from detectron2.data import DatasetCatalog
from PIL import Image

from maskrcnnpp.convert.semantic.label_map import LabelMap
from maskrcnnpp.convert.semantic.source import Reading, read_source
from maskrcnnpp.convert.semantic.write import convert_semantic
from maskrcnnpp.data.named_by_file import register_file

CELL = LabelMap({"cell": (255,)})
THIRDS = {"train": 1 / 3, "val": 1 / 3, "test": 1 / 3}


def numbers(*shape, seed=0, high=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def masks(*shape, seed=0, light=255):
    return numbers(*shape, seed=seed, high=2) * np.uint8(light)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def save_tiff(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return path


def save_nifti(path, array, affine=None):
    nibabel = pytest.importorskip("nibabel")  # an optional package
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def items_of(folder, **options):
    return list(read_source(folder / "images", folder / "labels", Reading(**options)))


def everything(records):
    return {"train": sorted(records)}


def convert(folder, label_map=CELL, draw=everything, items=None, **options):
    items = items_of(folder) if items is None else items
    return convert_semantic(items, folder / "out", label_map, draw, info={}, **options)


def written(folder, split="train"):
    """Detectron2's dicts of a split."""
    name = str(folder / "out" / "annotations" / f"semantic_{split}.json")
    register_file(name)
    return DatasetCatalog.get(name)


def write_pictures(folder):
    """Three RGB images of 6x8 and black and white masks."""
    for number, name in enumerate("abc"):
        save(folder / "images" / f"{name}.png", numbers(6, 8, 3, seed=number))
        save(folder / "labels" / f"{name}.png", masks(6, 8, seed=number))
    return folder


def write_volumes(folder):
    """Three volumes of 5x6x4 voxels, named as those of LiTS."""
    for number in range(3):
        values = numbers(5, 6, 4, seed=number, high=400, dtype=np.int16) - 200
        save_nifti(folder / "images" / f"volume-{number}.nii", values.astype(np.int16))
        labels = numbers(5, 6, 4, seed=number, high=3)
        labels[..., 3] = 0
        save_nifti(folder / "labels" / f"segmentation-{number}.nii.gz", labels)
    return folder
