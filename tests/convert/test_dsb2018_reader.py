"""The DSB2018 reader, on good and on bad sources."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from dsb2018_source import NOISE, good_files, mask, png, write_source
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.dsb2018 import Dsb2018Reader
from maskrcnnpp.errors import DataError


def read(source: Path, workers: int = 0):
    problems = ProblemLog(skip_bad=True)
    return list(Dsb2018Reader(source, problems).read(workers=workers)), problems


@pytest.mark.parametrize("top", ["", "stage1_train/"])
def test_good_source(tmp_path, kind, top):
    files = {top + name: data for name, data in good_files().items()}
    extra = {
        "__MACOSX/a/images/._a.png": b"x",
        top + "a/images/.DS_Store": b"x",
        top + "a/images/._a.png": b"x",
        top + "a/masks/Thumbs.db": b"x",
        "readme.txt": b"x",
    }
    source = write_source(tmp_path, {**files, **extra}, kind)
    samples, problems = read(source)
    assert not problems
    assert [sample.name for sample in samples] == list("abcdef")
    for sample in samples:
        assert sample.image == files[f"{top}{sample.name}/images/{sample.name}.png"]
        assert (sample.suffix, sample.height, sample.width) == (".png", 12, 16)
        assert sample.category_ids == (1, 1)
        assert [coco_mask.toBbox(rle).tolist() for rle in sample.masks] == [
            [2, 1, 4, 3],
            [14, 10, 2, 2],
        ]
    assert read(source, workers=2)[0] == samples


@pytest.mark.parametrize(
    ("image", "stain"),
    [
        (png(NOISE[..., 0]), "fluorescence"),
        (png(NOISE[..., :3] // 30 + 200), "brightfield"),
        (png(NOISE[..., :3] + np.array([190, 100, 180], np.uint8)), "histology"),
        (png(NOISE[..., 0], "LA"), "fluorescence"),
    ],
)
def test_image_modes(tmp_path, image, stain):
    files = {**good_files("a"), "a/images/a.png": image}
    (sample,), problems = read(write_source(tmp_path, files, "zip"))
    assert (sample.stain, len(problems)) == (stain, 0)


def opaque(mode: str) -> bytes:
    return png(np.asarray(Image.open(io.BytesIO(mask(1, 2, 3, 4)))), mode)


@pytest.mark.parametrize(
    "data",
    [
        mask(1, 2, 3, 4, value=1),
        opaque("RGB"),
        opaque("RGBA"),
        opaque("LA"),
        opaque("1"),
        opaque("P"),
        opaque("I;16"),
    ],
)
def test_whatever_is_not_zero_in_a_mask_is_object(tmp_path, data):
    files = {**good_files("a"), "a/masks/1.png": data}
    (sample,), problems = read(write_source(tmp_path, files, "zip"))
    assert not problems
    assert coco_mask.decode(sample.masks[0]).sum() == 12
    assert coco_mask.toBbox(sample.masks[0]).tolist() == [2, 1, 4, 3]


def replace(name: str, change):
    def edit(files: dict[str, bytes]) -> None:
        files[name] = change(files[name])

    return edit


def drop(start: str):
    return lambda files: [files.pop(name) for name in list(files) if name.startswith(start)]


def add(name: str, data: bytes):
    return lambda files: files.__setitem__(name, data)


# what is done to image b, what the message says, and the objects of b that remain (None: no b)
BAD = {
    "truncated image": (
        replace("b/images/b.png", lambda d: d[: len(d) // 2]), "b/images/b.png: damaged", None,
    ),
    "image without its end": (
        replace("b/images/b.png", lambda d: d[:60]), "b/images/b.png: damaged", None,
    ),
    "image that is not an image": (
        replace("b/images/b.png", lambda d: b"text"), "b/images/b.png: not a PNG file\n", None,
    ),
    "empty image file": (replace("b/images/b.png", lambda d: b""), "b/images/b.png", None),
    "16-bit image": (
        add("b/images/b.png", png(np.zeros((12, 16), np.uint16))), "8-bit grey, RGB or RGBA", None,
    ),
    "image with a damaged header": (
        replace("b/images/b.png", lambda d: d[:8] + b"x" * 50), "b/images/b.png: damaged", None,
    ),
    "image of another format": (
        add("b/images/other.jpg", b""), "b/images/other.jpg: not a PNG file; convert", None,
    ),
    "mask of another format": (
        add("b/masks/3.TIF", b""), "b/masks/3.TIF: not a PNG file; convert", None,
    ),
    "masks all of another format": (
        lambda files: (drop("b/masks")(files), add("b/masks/1.bmp", b"")(files)),
        "b/masks/1.bmp: not a PNG file; convert", None,
    ),
    "mask in a folder of its own": (
        add("b/masks/more/3.png", mask(0, 0, 1, 1)), "b/masks/more/3.png: lies in a folder", None,
    ),
    "masks in folders called masks": (
        add("b/masks/masks/3.png", mask(0, 0, 1, 1)), "b/masks/masks/3.png: lies in a", None,
    ),
    "several files that cannot be used": (
        lambda files: files.update({f"b/masks/x/{i}.jpg": b"" for i in range(4)}),
        "b/masks/x/0.jpg: lies in a folder inside masks/; move it up (and 3 more of", None,
    ),
    "truncated mask": (
        replace("b/masks/2.png", lambda d: d[:-20]), "b/masks/2.png: damaged", None,
    ),
    "mask of another size": (
        add("b/masks/2.png", mask(0, 0, 2, 2, (16, 12))),
        "12x16 pixels, but the image b/images/b.png is", None,
    ),
    "empty mask": (add("b/masks/2.png", mask(0, 0, 0, 0)), "b/masks/2.png: the mask is empty", 1),
    "missing image": (drop("b/images"), "b: missing image", None),
    "no masks": (drop("b/masks"), "b: no masks", None),
    "several images": (add("b/images/c.png", png(NOISE)), "b: 2 images", None),
    "duplicate id": (
        add("again/b/images/b.png", png(NOISE)), "duplicate id, found in again/b and b", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, kind, case):
    change, message, remaining = BAD[case]
    files = good_files()
    change(files)
    source = write_source(tmp_path, files, kind)

    samples, problems = read(source)
    objects = {sample.name: len(sample.masks) for sample in samples}
    assert objects.get("b") == remaining
    assert {name: n for name, n in objects.items() if name != "b"} == dict.fromkeys("acdef", 2)
    assert len(problems) == 1
    assert message in problems.lines().replace("\t", ": ")

    problems.skip_bad = False
    with pytest.raises(DataError, match="--skip-bad") as error:
        problems.raise_unless_skipped(source)
    assert message in str(error.value) and str(source) in str(error.value)


def test_an_image_below_too_many_folders_is_told(tmp_path, kind):
    files = {**good_files(), "x/y/z/g/images/g.png": png(NOISE), "x/y/z/other.png": png(NOISE)}
    samples, problems = read(write_source(tmp_path, files, kind))
    assert len(samples) == 6
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == ("file", "x/y/z/g/images/g.png")
    assert "deeper" in problem.reason


def test_problems_hold_no_memory_address(tmp_path):
    files = {**good_files("a"), "a/images/a.png": b"text"}
    source = write_source(tmp_path, files, "zip")
    _, problems = read(source)
    assert problems.lines() == "image\ta/images/a.png\tnot a PNG file\n"


def test_images_left_out_are_counted_by_id(tmp_path):
    """Below a top folder too, and once for several bad masks."""
    files = {f"stage1_train/{name}": data for name, data in good_files().items()}
    for name in ("a/images/a.png", "b/masks/1.png", "b/masks/2.png", "c/masks/1.png"):
        files[f"stage1_train/{name}"] = b"text"
    files["stage1_train/d/masks/1.png"] = mask(0, 0, 0, 0)
    _, problems = read(write_source(tmp_path, files, "zip"))
    assert problems.summary().startswith("left out: 3 images, 1 object\n")


def test_linked_folders_are_followed(tmp_path):
    source = write_source(tmp_path, good_files("ab"), "folder")
    (tmp_path / "elsewhere").mkdir()
    (source / "b").rename(tmp_path / "elsewhere" / "b")
    (source / "b").symlink_to(tmp_path / "elsewhere" / "b")
    # round in circles
    (source / "b" / "up").symlink_to(source)
    (source / "a" / "self").symlink_to(source / "a")
    samples, problems = read(source)
    assert [(sample.name, len(sample.masks)) for sample in samples] == [("a", 2), ("b", 2)]
    assert not problems
    # and by way of each other
    (source / "a" / "b").symlink_to(source / "b")
    (source / "b" / "a").symlink_to(source / "a")
    samples, problems = read(source)
    assert not samples and problems.lines().count("duplicate id") == 2


def test_a_link_that_leads_nowhere(tmp_path):
    source = write_source(tmp_path, good_files("ab"), "folder")
    (source / "c").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="source/c: the link leads nowhere; mend"):
        read(source)
    (source / "c").unlink()
    (source / "b/masks/3.png").symlink_to(tmp_path / "gone.png")
    samples, problems = read(source)
    assert len(samples) == 1 and "b/masks/3.png\tcannot be read" in problems.lines()


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    source = write_source(tmp_path, good_files("ab"), "folder")
    scandir = os.scandir

    def refusing(path):  # as root, tests may list any folder
        if os.fspath(path).endswith("b/masks"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="b/masks: the folder cannot be listed .*make it readable"):
        read(source)


def test_changed_bytes_are_noticed(tmp_path, kind):
    source = write_source(tmp_path, good_files(), kind)
    path = source if kind == "zip" else source / "b" / "images" / "b.png"
    data = bytearray(path.read_bytes())
    # somewhere in the middle of the first image's pixels, which are stored as they are
    data[300] ^= 0x10
    path.write_bytes(data)
    samples, problems = read(source)
    assert len(samples) == 5 and len(problems) == 1


def test_an_id_that_is_no_file_name(tmp_path):
    files = {**good_files(), "x\ny/images/x.png": png(NOISE), "x\ny/masks/1.png": mask(0, 0, 1, 1)}
    samples, problems = read(write_source(tmp_path, files, "zip"))
    assert len(samples) == 6 and "file name" in problems.lines()


def test_many_problems_are_counted_and_the_first_shown(tmp_path):
    files = {f"{i:02}/images/x.png": png(NOISE) for i in range(30)}
    problems = ProblemLog()
    list(Dsb2018Reader(write_source(tmp_path, files, "zip"), problems).read(workers=0))
    with pytest.raises(DataError, match=r"30 problems[^$]*  19: no masks[^$]*and 10 more"):
        problems.raise_unless_skipped("source.zip")
