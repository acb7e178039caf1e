"""The reader of foreground masks, on good and on bad sources."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dsb2018_source import NOISE, png, write_source
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage
from skimage.draw import disk

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.binary import BinaryReader
from maskrcnnpp.errors import DataError

MASK = np.zeros((12, 16), bool)
MASK[1:4, 2:6] = True
MASK[4:7, 6:8] = True  # touches the first at a corner
MASK[10:, 14:] = True


def image(mask: np.ndarray = MASK) -> bytes:
    return png(np.random.default_rng(0).integers(0, 60, mask.shape, dtype=np.uint8))


def tif(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def saved(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def palette(*colours: tuple[int, int, int]) -> bytes:
    picture = Image.frombytes("P", (16, 12), MASK.astype(np.uint8).tobytes())
    picture.putpalette([value for colour in colours for value in colour])
    return saved(picture, "png")


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


WHITE = MASK.astype(np.uint8) * 255
FORMATS = {
    "0 and 255": ("png", png(WHITE)),
    "0 and 1": ("png", png(WHITE // 255)),
    "1 bit": ("png", png(MASK)),
    "RGB": ("png", png(np.stack([WHITE] * 3, axis=-1))),
    "RGBA": ("png", png(np.stack([WHITE] * 4, axis=-1))),
    "grey and alpha": ("png", png(WHITE, "LA")),
    "16 bits": ("png", png(WHITE.astype(np.uint16) * 257)),
    "palette": ("png", palette((0, 0, 0), (255, 255, 255))),
    "palette in colour": ("png", palette((0, 0, 0), (128, 0, 0))),
    "in colour": ("png", png(np.stack([WHITE, WHITE, WHITE * 0], axis=-1))),
    "TIFF": ("tif", tif(WHITE)),
    "TIFF of 1 bit": ("tiff", tif(MASK)),
    "TIFF of ImageJ": ("tif", tif(WHITE, photometric="miniswhite")),
    "TIFF RGB": ("tif", tif(np.stack([WHITE] * 3, axis=-1))),
    "BMP": ("bmp", saved(Image.fromarray(WHITE), "bmp")),
    "BMP of 1 bit": ("bmp", saved(Image.fromarray(MASK), "bmp")),
    "array": ("npy", npy(MASK)),
}


def read(source: Path, workers: int = 0, **options):
    problems = ProblemLog(skip_bad=True)
    return list(BinaryReader(source, problems, **options).read(workers=workers)), problems


def source_of(path: Path, mask: np.ndarray) -> Path:
    files = {"images/a.png": image(mask), "masks/a.png": png(mask)}
    return write_source(path, files, "zip")


def label_image(sample) -> np.ndarray:
    """And that no pixel belongs to two objects."""
    masks = [coco_mask.decode(rle) for rle in sample.masks]
    labels = np.zeros((sample.height, sample.width), int)
    for number, mask in enumerate(masks, start=1):
        assert mask.any() and not labels[mask == 1].any()
        labels[mask == 1] = number
    return labels


def same_objects(labels: np.ndarray, others: np.ndarray) -> bool:
    pairs = set(zip(labels.ravel().tolist(), others.ravel().tolist()))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and (
        ((labels > 0) == (others > 0)).all()
    )


@pytest.mark.parametrize("form", FORMATS)
def test_formats(tmp_path, kind, form):
    suffix, content = FORMATS[form]
    files = {"images/ä b.png": image(), f"masks/ä b.{suffix}": content}
    source = write_source(tmp_path, files, kind)
    (sample,), problems = read(source)
    assert not problems
    assert (sample.name, sample.image, sample.suffix) == ("ä b", image(), ".png")
    assert (sample.height, sample.width, sample.stain) == (12, 16, "fluorescence")
    assert sample.category_ids == (1, 1)
    assert same_objects(label_image(sample), ndimage.label(MASK, np.ones((3, 3)))[0])
    assert not BinaryReader.fits(list(files))


def test_pairs_and_workers(tmp_path, kind):
    files = {name: png(NOISE) for name in ("a.png", "b.png", "z/c.png")}
    files |= {f"{name}_bin.png": png(MASK) for name in ("a", "b")} | {"m.png": png(MASK)}
    source = write_source(tmp_path, files, kind)
    samples, problems = read(source, label_ending="_bin")
    assert [sample.name for sample in samples] == ["a", "b"]
    assert [(p.scope, p.item) for p in problems.problems] == [("file", "m.png")]
    assert read(source, workers=2, label_ending="_bin")[0] == samples
    (tmp_path / "list.csv").write_text("image,labels\nz/c.png,m.png\n")
    samples, _ = read(source, pairs=tmp_path / "list.csv")
    assert [sample.name for sample in samples] == ["z__c"]


@pytest.mark.parametrize(("connectivity", "count"), [(1, 3), (2, 2)])
def test_connectivity(tmp_path, connectivity, count):
    (sample,), _ = read(source_of(tmp_path, MASK), connectivity=connectivity)
    assert len(sample.masks) == count


@given(hnp.arrays(bool, (9, 11)), st.sampled_from([1, 2]), st.integers(1, 5))
def test_components(tmp_path_factory, mask, connectivity, min_area):
    source = source_of(tmp_path_factory.mktemp("source"), mask)
    samples, problems = read(source, connectivity=connectivity, min_area=min_area)
    if not samples:
        assert "is it the background?" in problems.lines()
        return
    (sample,) = samples
    structure = ndimage.generate_binary_structure(2, connectivity)
    expected, count = ndimage.label(mask, structure)
    areas = np.bincount(expected.ravel(), minlength=count + 1)
    small = (areas < min_area) & (np.arange(count + 1) > 0)
    expected[small[expected]] = 0
    assert same_objects(label_image(sample), expected)
    assert len(problems) == bool(small.any())
    for problem in problems.problems:
        assert (problem.scope, problem.item) == ("unwanted", "masks/a.png")
        assert problem.reason.startswith(f"{small.sum()} object")
        assert problem.reason.endswith(f"of less than {min_area} pixels")


@given(hnp.arrays(bool, (9, 11)), st.sampled_from([1, 2]), st.integers(1, 5))
def test_a_watershed_divides_the_components(tmp_path_factory, mask, connectivity, min_distance):
    source = source_of(tmp_path_factory.mktemp("source"), mask)
    options = {"connectivity": connectivity, "min_distance": min_distance}
    samples, problems = read(source, watershed=True, **options)
    if not samples:
        assert "is it the background?" in problems.lines()
        return
    (sample,) = samples
    assert not problems
    labels = label_image(sample)
    assert ((labels > 0) == mask).all()
    structure = ndimage.generate_binary_structure(2, connectivity)
    components, _ = ndimage.label(mask, structure)
    for number in range(1, len(sample.masks) + 1):
        assert len(np.unique(components[labels == number])) == 1
        assert ndimage.label(labels == number, structure)[1] == 1


def discs(*places: tuple[int, int, int], shape=(60, 80)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for row, column, radius in places:
        mask[disk((row, column), radius, shape=shape)] = True
    return mask


def test_touching_discs_are_cut_apart(tmp_path):
    places = [(30, 20, 12), (30, 40, 12), (10, 60, 8)]
    source = source_of(tmp_path, discs(*places))
    (whole,), _ = read(source)
    (cut,), _ = read(source, watershed=True)
    (wide,), _ = read(source, watershed=True, min_distance=30)
    assert (len(whole.masks), len(cut.masks), len(wide.masks)) == (2, 3, 2)
    labels = label_image(cut)
    assert len({labels[row, column] for row, column, _ in places}) == 3
    assert (labels > 0).sum() == discs(*places).sum()
    left, right = labels == labels[30, 20], labels == labels[30, 40]
    assert not left[:, 31:].any() and not right[:, :29].any()


def test_a_watershed_goes_around_corners_where_objects_do(tmp_path):
    (sample,), _ = read(source_of(tmp_path, MASK), watershed=True, min_distance=10)
    assert same_objects(label_image(sample), ndimage.label(MASK, np.ones((3, 3)))[0])


def test_small_parts_are_counted_after_the_cut(tmp_path):
    source = source_of(tmp_path, discs((30, 20, 12), (30, 40, 12), (10, 60, 4)))
    (sample,), problems = read(source, watershed=True, min_area=100)
    assert len(sample.masks) == 2
    assert problems.lines() == "unwanted\tmasks/a.png\t1 object of less than 100 pixels\n"


@pytest.mark.parametrize("watershed", [False, True])
def test_nothing_and_all_of_an_image(tmp_path, watershed):
    files = {"images/a.png": image(), "images/b.png": image()}
    files |= {"masks/a.png": png(MASK & False), "masks/b.png": png(MASK | True)}
    (empty, full), problems = read(write_source(tmp_path, files, "zip"), watershed=watershed)
    assert not problems and empty.masks == ()
    (rle,) = full.masks
    assert coco_mask.decode(rle).all()


def test_masks_in_jpeg(tmp_path):
    mask = discs((20, 30, 12), (45, 60, 9))
    for name, high in (("mask", 255), ("labels", 90)):
        content = saved(Image.fromarray(mask.astype(np.uint8) * high), "jpeg")
        files = {"images/a.png": image(mask), "masks/a.jpg": content}
        samples, problems = read(write_source(tmp_path, files, "zip"))
        if name == "mask":
            assert not problems and "JPEG file, which changes values" in problems.lines_of_notes()
            assert same_objects(label_image(samples[0]), ndimage.label(mask)[0])
        else:
            assert not samples and "JPEG changes them; save it as PNG" in problems.lines()


LABELS = MASK.astype(np.uint8)
LABELS[10:] *= 2
SOFT = tif(np.where(MASK, 0.3, 0.7).astype(np.float32))

BAD = {
    "label image": (png(LABELS), "has 3 values, where a mask has two: is it a label im"),
    "label array": ("npy", npy(LABELS), "has 3 values"),
    "no background": (png(LABELS * 0 + 1 + MASK), "has the values 1 and 2; background has to be 0"),
    "inverted": (png(255 - WHITE), "has 255 on 89% of the image, at all four sides and around"),
    "palette": (palette((255, 255, 255), (0, 0, 0)), "1 is black and 0 is not: which is the back"),
    "two channels": ("tif", tif(np.zeros((2, 12, 16), np.uint8), metadata={"axes": "CYX"},
        ome=True), "is not a label image: 12x16x2"),
    "probabilities": ("tif", SOFT, "has numbers that are no integers"),
    "other size": (png(MASK.T), "is of 12x16 pixels, but the image images/b.png is of 16x12"),
    "stack": ("tif", tif(np.zeros((5, 12, 16), np.uint8)), "is a stack"),
    "cut short": (png(WHITE)[:40], ""),
    "TIFF cut short": ("tif", tif(WHITE)[:-40], "cut short"),
    "empty": (b"", "cannot be read"),
    "no image": (b"text" * 9, "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_mask(tmp_path, kind, case):
    *suffix, content, reason = BAD[case]
    item = f"masks/b.{suffix[0] if suffix else 'png'}"
    files = {"images/a.png": image(), "masks/a.png": png(MASK), "images/b.png": image()}
    samples, problems = read(write_source(tmp_path, files | {item: content}, kind))
    assert [sample.name for sample in samples] == ["a"]
    (problem,) = problems.problems
    assert (problem.scope, problem.image, problem.item) == ("image", "b", item)
    assert reason in problem.reason and problem.reason


def test_a_bad_image(tmp_path, kind):
    files = {"images/a.png": image()[:50], "masks/a.png": png(MASK)}
    samples, problems = read(write_source(tmp_path, files, kind))
    assert not samples and problems.lines().startswith("image\timages/a.png\t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connectivity": 8}, "connectivity 8: is 1 "),
        ({"connectivity": 0}, "connectivity 0: is 1 "),
        ({"min_distance": 0}, "min_distance 0: is 1 or more"),
        ({"min_area": -1}, "min_area -1: is 1 or more"),
    ],
)
def test_impossible_options(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        BinaryReader(source_of(tmp_path, MASK), ProblemLog(), **options)
