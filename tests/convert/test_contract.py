"""What every reader does with a source: the same for all, also for those that are still to come."""

from __future__ import annotations

import warnings
import zipfile

import geojson_source
import imagej_source
import labelme_source
import numpy as np
import pytest
import test_ctc_reader
import test_dsb2018_csv_reader
import test_hovernet_reader
import test_monuseg_reader
from coco_source import good_files as coco_files
from dsb2018_source import NOISE, good_files, mask, png, write_source
from labelme_source import content
from outline_sources import IMAGE
from test_pannuke_reader import fold

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers import READERS
from maskrcnnpp.errors import DataError

LABELS = np.zeros((12, 16), np.uint8)
LABELS[1:4, 2:6], LABELS[6:9, 2:6] = 1, 2
PICTURES = {"images/a.png": png(NOISE), "images/b.png": png(NOISE)}


def pair(suffix: str, image: bytes, of_image) -> dict[str, bytes]:
    """Images a and b, and a file of each beside it."""
    images = {f"{name}.{suffix}": image for name in "ab"}
    return images | {name: data for image in "ab" for name, data in of_image(image).items()}


#: A small source of each layout.
SOURCES = {
    "binary": PICTURES | {f"masks/{name}.png": mask(1, 2, 3, 4) for name in "ab"},
    "coco": coco_files(),
    "ctc": test_ctc_reader.good_files(),
    "dsb2018": good_files("ab"),
    "dsb2018_csv": test_dsb2018_csv_reader.good_files(),
    "geojson": pair("png", IMAGE, lambda n: {f"{n}.geojson": geojson_source.GOOD}),
    "hovernet": test_hovernet_reader.files_of(**dict.fromkeys("ab", test_hovernet_reader.CONSEP)),
    "imagej": pair("tif", imagej_source.TIF, lambda n: {f"{n}.zip": imagej_source.GOOD}),
    "labelme": pair(
        "png", IMAGE, lambda n: {f"{n}.json": content(labelme_source.ONE, path=f"{n}.png")}
    ),
    "labels": PICTURES | {f"labels/{name}.png": png(LABELS) for name in "ab"},
    "monuseg": test_monuseg_reader.good_files(),
    "pannuke": fold("fold1/", "fold1/") | fold("fold2/", "fold2/"),
}
UNPACKED = {"pannuke"}  #: layouts that are not read in an archive, which says so


def read(name, source, workers=0):
    problems = ProblemLog(skip_bad=True)
    return list(READERS[name](source, problems).read(workers=workers)), problems


@pytest.fixture(params=READERS)
def layout(request):
    return request.param


@pytest.fixture(params=[name for name in READERS if name not in UNPACKED])
def packed(request):
    """A layout that is read in an archive."""
    return request.param


def test_an_archive_is_read_as_a_folder_is(tmp_path, packed):
    in_archive, problems = read(packed, write_source(tmp_path, SOURCES[packed], "zip"))
    in_folder, others = read(packed, write_source(tmp_path, SOURCES[packed], "folder"))
    assert in_archive == in_folder and not problems and not others
    names = [sample.name for sample in in_folder]
    assert len(names) > 1 and names == sorted(names) and any(s.masks for s in in_folder)
    for sample in in_folder:
        assert len(sample.masks) == len(sample.category_ids)
        assert all(rle["size"] == [sample.height, sample.width] for rle in sample.masks)


def test_a_layout_is_recognized(layout):
    fitting = {name for name, reader in READERS.items() if reader.fits(list(SOURCES[layout]))}
    # masks of foreground alone must be asked for by name, as label images look the same
    assert fitting == ({"labels"} if layout == "binary" else {layout})


@pytest.mark.parametrize("top", ["../", "/etc/", "C:/", "..\\"])
def test_a_path_that_leads_out_of_the_archive(tmp_path, packed, top):
    good = SOURCES[packed]
    expected, _ = read(packed, write_source(tmp_path, good, "folder"))
    out = {f"{top}{name}": data for name, data in good.items()}
    samples, problems = read(packed, write_source(tmp_path, good | out, "zip"))
    assert samples == expected
    assert {p.item for p in problems.problems} <= set(out) and problems
    assert all("leads out of the source" in p.reason for p in problems.problems)


def outcome(name, source):
    """Samples and whether something is wrong; None where nothing can be read."""
    try:
        samples, problems = read(name, source)
    except DataError:
        return None, True
    return samples, bool(problems)


def test_a_file_stored_twice_in_an_archive(tmp_path, packed):
    """Which of the two is meant nobody knows: that is said, unless the file is of no use."""
    good = SOURCES[packed]
    expected, _ = read(packed, write_source(tmp_path, good, "folder"))
    for name in good:
        others = {other: data for other, data in good.items() if other != name}
        of_no_use = outcome(packed, write_source(tmp_path, others, "zip")) == (expected, False)
        source = write_source(tmp_path, good, "zip")
        with zipfile.ZipFile(source, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(name, good[name])
        samples, is_told = outcome(packed, source)
        assert is_told or of_no_use, name
        assert all(sample in expected for sample in samples or [])


@pytest.mark.parametrize("damage", ["empty", "cut short"])
def test_one_damaged_file(tmp_path, kind, layout, damage):
    """It is named, and costs no more than what hangs on it."""
    kind = "folder" if layout in UNPACKED else kind
    good = SOURCES[layout]
    expected, _ = read(layout, write_source(tmp_path, good, "folder"))
    for number, name in enumerate(good):
        if name.endswith(".csv") and damage == "cut short":
            continue  # a table may end anywhere
        files = good | {name: b"" if damage == "empty" else good[name][: len(good[name]) // 2]}
        place = tmp_path / str(number)
        place.mkdir()
        try:
            samples, problems = read(layout, write_source(place, files, kind))
        except DataError as error:
            assert name in str(error)
            continue
        assert samples == expected or any(name in line for line in problems.lines().split("\n"))
        assert all(sample in expected for sample in samples)
        if problems:
            problems.skip_bad = False
            with pytest.raises(DataError, match="--skip-bad") as told:
                problems.raise_unless_skipped("source")
            assert name in str(told.value)


def test_nothing_of_the_layout(tmp_path, kind, layout):
    source = write_source(tmp_path, {"a.md": b"", "b.doc": b""}, kind)
    with pytest.raises(DataError, match="source.*holds no ") as error:
        READERS[layout](source, ProblemLog())
    assert str(error.value).startswith(str(source))
    with pytest.raises(DataError, match="does not exist"):
        READERS[layout](tmp_path / "gone", ProblemLog())
    assert not READERS[layout].fits(["a.md", "b.doc"])


def without_images(name):
    images = (".png", ".tif", "images.npy")
    return {file: data for file, data in SOURCES[name].items() if not file.endswith(images)}


@pytest.mark.parametrize("layout", filter(without_images, READERS))
def test_only_annotations_without_images(tmp_path, layout):
    source = write_source(tmp_path, without_images(layout), "folder")
    with pytest.raises(DataError) as error:
        problems = ProblemLog()
        list(READERS[layout](source, problems).read(workers=0))
        problems.raise_unless_skipped(source)
    assert str(source) in str(error.value)
