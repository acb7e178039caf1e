"""The reader of PanNuke's arrays, on good and on bad sources."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from dsb2018_source import write_source
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.hovernet import HovernetReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.convert.readers.pannuke import CLASSES, PannukeReader
from maskrcnnpp.errors import DataError

COUNT, SIDE = 4, 32
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3)).astype(np.float64)


def make_masks() -> np.ndarray:
    masks = np.zeros((COUNT, SIDE, SIDE, 6))
    masks[0, 2:6, 3:9, 0] = 4
    masks[0, 8:12, 3:9, 0] = 9
    masks[0, 10:14, 5:11, 4] = 9  # overlaps, and has the same number in another class
    masks[1, 0:5, 28:32, 2] = 1
    masks[2, 0, 0, 3] = 1000
    masks[..., 5] = ~masks[..., :5].any(axis=-1)
    return masks


MASKS = make_masks()
TYPES = np.array(["Breast", "Colon", "Bile-duct", "Lung"])


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def fold(images: str = "", masks: str = "", dtype=np.float64) -> dict[str, bytes]:
    return {
        f"{images}images.npy": npy(IMAGES.astype(dtype)),
        f"{images}types.npy": npy(TYPES),
        f"{masks}masks.npy": npy(MASKS.astype(dtype if dtype != np.uint8 else np.uint16)),
    }


def read(source: Path, workers: int = 0):
    problems = ProblemLog(skip_bad=True)
    return list(PannukeReader(source, problems).read(workers=workers)), problems


def check(samples, prefix: str) -> None:
    assert [sample.name for sample in samples] == [f"{prefix}_{n:05}" for n in range(COUNT)]
    for index, sample in enumerate(samples):
        assert (sample.suffix, sample.stain) == (".png", "histology")
        assert (sample.height, sample.width) == (SIDE, SIDE)
        pixels = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels.dtype == np.uint8 and (pixels[..., ::-1] == IMAGES[index]).all()
        expected = [
            (channel + 1, MASKS[index, ..., channel] == number)
            for channel in range(5)
            for number in np.unique(MASKS[index, ..., channel])
            if number > 0
        ]
        assert sample.category_ids == tuple(category for category, _ in expected)
        for rle, (_, mask) in zip(sample.masks, expected):
            assert (coco_mask.decode(rle) == mask).all()


@pytest.mark.parametrize(
    ("images", "masks", "name"),
    [
        ("", "", "image"),
        ("images/", "masks/", "image"),
        ("Fold 1/images/fold1/", "Fold 1/masks/fold1/", "fold1"),
        ("fold1/images/fold1/", "fold1/masks/fold1/", "fold1"),
        ("PanNuke ä/fold_2/", "PanNuke ä/fold_2/", "fold2"),
        ("images/fold3/", "masks/fold3/", "fold3"),
        ("Fold 3/images/", "Fold 3/masks/", "fold3"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.float32, np.int16])
def test_good_source(tmp_path, images, masks, name, dtype):
    files = fold(images, masks, dtype)
    source = write_source(tmp_path, files, "folder")
    samples, problems = read(source)
    assert not problems
    check(samples, name)
    assert PannukeReader.fits(list(files))
    assert not LabelsReader.fits(list(files)) and not HovernetReader.fits(list(files))


def test_three_folds_and_workers(tmp_path):
    files = {}
    for n in (1, 2, 3):
        files |= fold(f"Fold {n}/images/fold{n}/", f"Fold {n}/masks/fold{n}/")
    source = write_source(tmp_path, files, "folder")
    problems = ProblemLog()
    reader = PannukeReader(source, problems)
    samples = list(reader.read(workers=2))
    assert not problems and len(samples) == 3 * COUNT
    for n in (1, 2, 3):
        check(samples[(n - 1) * COUNT : n * COUNT], f"fold{n}")
    assert [category["name"] for category in reader.categories] == list(CLASSES)
    assert [category["id"] for category in reader.categories] == [1, 2, 3, 4, 5]
    some = list(PannukeReader(source, problems).read(["fold3_00001", "fold2_00000"], workers=0))
    assert [sample.name for sample in some] == ["fold2_00000", "fold3_00001"]


def test_arrays_are_not_read_whole(tmp_path, monkeypatch):
    source = write_source(tmp_path, fold(), "folder")
    load, modes = np.load, []

    def noting(file, mmap_mode=None, **options):
        modes.append((mmap_mode, options))
        return load(file, mmap_mode=mmap_mode, **options)

    monkeypatch.setattr(np, "load", noting)
    read(source)
    assert len(modes) == 2 + 2 * COUNT
    assert all(mode == ("r", {"allow_pickle": False}) for mode in modes)


def test_an_archive_has_to_be_unpacked(tmp_path):
    files = fold("Fold 1/images/fold1/", "Fold 1/masks/fold1/")
    source = write_source(tmp_path, files, "zip")
    assert PannukeReader.fits(list(files))
    with pytest.raises(DataError, match="source.zip: .* unpack it, and name the folder"):
        PannukeReader(source, ProblemLog())


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


PICKLED = npy(np.array([Evil()], dtype=object), allow_pickle=True)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, IMAGES)
    return file.getvalue()


# the files of the second fold that are changed, the one that is named, and why
BAD_FOLDS = {
    "cut short": ({"images": npy(IMAGES)[:-8]}, "images", "not an array of numbers, or cut short"),
    "cut in the header": ({"masks": npy(MASKS)[:20]}, "masks", "is not an array of numbers"),
    "empty": ({"masks": b""}, "masks", "is not an array of numbers"),
    "text": ({"images": b"text" * 99}, "images", "is not an array of numbers"),
    "pickled": ({"images": PICKLED}, "images", "is not an array of numbers"),
    "npz": ({"images": npz()}, "images", "is an archive of arrays"),
    "channels first": (
        {"images": npy(np.moveaxis(IMAGES, 3, 1))}, "images", "is 4 x 3 x 32 x 32, not N x height",
    ),
    "one image": ({"images": npy(IMAGES[0])}, "images", "is 32 x 32 x 3, not N x"),
    "a number": ({"images": npy(np.array(3.0))}, "images", "is a single number, not N x"),
    "five channels": ({"masks": npy(MASKS[..., :5])}, "masks", "not N x height x width x 6"),
    "fewer masks": (
        {"masks": npy(MASKS[1:])}, "masks", "not of the images of fold2/images.npy, which are 4 x",
    ),
    "smaller masks": ({"masks": npy(MASKS[:, :9])}, "masks", "is not of the images of"),
    "words": ({"images": npy(IMAGES.astype(str))}, "images", "is of type <U"),
    "complex": ({"masks": npy(MASKS * 1j)}, "masks", "is of type complex128"),
    "no masks": ({"masks": None}, "images", "has no masks.npy beside this images.npy"),
    "no images": ({"images": None}, "masks", "has no images.npy beside this masks.npy"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FOLDS)
def test_a_bad_fold(tmp_path, case):
    change, named, reason = BAD_FOLDS[case]
    files = fold("fold1/", "fold1/") | fold("fold2/", "fold2/")
    for array, content in change.items():
        files[f"fold2/{array}.npy"] = content
    files = {name: content for name, content in files.items() if content is not None}
    samples, problems = read(write_source(tmp_path, files, "folder"))
    check(samples, "fold1")
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == ("file", f"fold2/{named}.npy")
    assert reason in problem.reason


def test_folds_of_the_same_name(tmp_path):
    files = fold("a/fold1/", "a/fold1/") | fold("b/Fold 1/", "b/Fold 1/")
    samples, problems = read(write_source(tmp_path, files, "folder"))
    check(samples, "fold1")
    assert "b/Fold 1/images.npy\tis called fold1, as a/fold1/images.npy is" in problems.lines()


def test_two_arrays_for_one_place(tmp_path):
    files = fold("fold1/", "fold1/") | {"fold1/images/images.npy": npy(IMAGES)}
    files |= fold("fold2/", "fold2/")
    samples, problems = read(write_source(tmp_path, files, "folder"))
    check(samples, "fold2")
    assert "is there twice: fold1/images.npy and fold1/images/images.npy" in problems.lines()


def changed(array: np.ndarray, place: tuple, value: float) -> bytes:
    array = array.copy()
    array[place] = value
    return npy(array)


BAD_IMAGES = {
    "a fraction": ("images", (1, 2, 3, 0), 0.5, "no integers from 0 to 255"),
    "above 255": ("images", (1, 2, 3, 0), 256, "(from 0 to 256)"),
    "below 0": ("images", (1, 2, 3, 0), -1, "(from -1 to 255)"),
    "not a number": ("images", (1, 2, 3, 0), np.nan, "no integers from 0 to 255"),
    "infinite": ("images", (1, 2, 3, 0), np.inf, "no integers from 0 to 255"),
    "a mask's fraction": ("masks", (1, 2, 3, 0), 0.5, "no integers"),
    "a mask's nan": ("masks", (1, 2, 3, 4), np.nan, "no integers"),
    "a mask below 0": ("masks", (1, 2, 3, 0), -3, "negative numbers, such as -3"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image(tmp_path, case):
    which, place, value, reason = BAD_IMAGES[case]
    array = IMAGES if which == "images" else MASKS
    files = fold("fold1/", "fold1/") | {f"fold1/{which}.npy": changed(array, place, value)}
    samples, problems = read(write_source(tmp_path, files, "folder"))
    assert [sample.name for sample in samples] == [f"fold1_{n:05}" for n in (0, 2, 3)]
    (problem,) = problems.problems
    assert (problem.scope, problem.image) == ("image", "fold1_00001")
    assert problem.item == f"fold1/{which}.npy"
    assert problem.reason.startswith("image 1: ") and reason in problem.reason


def test_what_the_background_channel_holds_does_not_matter(tmp_path):
    files = fold() | {"masks.npy": changed(MASKS, (slice(None), 0, 0, 5), np.nan)}
    samples, problems = read(write_source(tmp_path, files, "folder"))
    check(samples, "image")
    assert not problems
