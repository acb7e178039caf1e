"""The reader of the Cell Tracking Challenge, on good and on bad sources."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from dsb2018_source import write_source
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.ctc import CtcReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.errors import DataError

RNG = np.random.default_rng(0)
LABELS = np.zeros((12, 16), np.uint16)
LABELS[1:4, 2:6] = 3
LABELS[10:, 14:] = 300


def tif(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


FRAMES = [tif(RNG.integers(0, 60, (12, 16)).astype(np.uint8), compression="zlib") for _ in range(5)]


def good_files(top: str = "", digits: int = 3) -> dict[str, bytes]:
    """Two sequences of five frames, two of which have gold truth."""
    files = {}
    for sequence in ("01", "02"):
        for t, frame in enumerate(FRAMES):
            files[f"{top}{sequence}/t{t:0{digits}}.tif"] = frame
            silver = tif(LABELS + (LABELS == 0).astype(np.uint16) * 7)
            files[f"{top}{sequence}_ST/SEG/man_seg{t:0{digits}}.tif"] = silver
            files[f"{top}{sequence}_GT/TRA/man_track{t:0{digits}}.tif"] = tif(LABELS * 0)
        for t in (1, 4):
            files[f"{top}{sequence}_GT/SEG/man_seg{t:0{digits}}.tif"] = tif(LABELS)
        files[f"{top}{sequence}_GT/TRA/man_track.txt"] = b"1 0 4 0\n"
    return files


def read(source: Path, workers: int = 0, **options):
    problems = ProblemLog(skip_bad=True)
    return list(CtcReader(source, problems, **options).read(workers=workers)), problems


@pytest.mark.parametrize("top", ["", "Fluo-N2DL-HeLa/", "Träining data/Fluo-N2DH-SIM+/"])
@pytest.mark.parametrize("digits", [3, 4])
def test_gold_truth(tmp_path, kind, top, digits):
    files = good_files(top, digits)
    source = write_source(tmp_path, files, kind)
    samples, problems = read(source)
    assert not problems
    prefix = top.replace("/", "__")
    names = [f"{prefix}{s}__t{t:0{digits}}" for s in ("01", "02") for t in (1, 4)]
    assert [sample.name for sample in samples] == names
    for sample, t in zip(samples, (1, 4, 1, 4)):
        assert (sample.image, sample.suffix, sample.stain) == (FRAMES[t], ".tif", "fluorescence")
        assert (sample.height, sample.width, sample.category_ids) == (12, 16, (1, 1))
        for number, rle in zip((3, 300), sample.masks):
            assert (coco_mask.decode(rle) == (LABELS == number)).all()
    assert read(source, workers=2)[0] == samples
    assert CtcReader.fits(list(files)) and not LabelsReader.fits(list(files))


def test_silver_truth(tmp_path, kind):
    source = write_source(tmp_path, good_files(), kind)
    samples, problems = read(source, truth="ST")
    assert not problems and len(samples) == 10
    assert all(len(sample.masks) == 3 for sample in samples)


def test_gold_truth_of_only_some_cells(tmp_path, kind):
    markers = np.zeros_like(LABELS)
    markers[1:3, 2:4], markers[11, 15], markers[6:9, 6:8] = 1, 2, 3
    files = good_files() | {"01_GT/TRA/man_track001.tif": tif(markers)}
    samples, problems = read(write_source(tmp_path, files, kind))
    assert [sample.name for sample in samples] == ["01__t004", "02__t001", "02__t004"]
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == ("image", SEG)
    track = "01_GT/TRA/man_track001.tif"
    assert f"lacks 1 of the 3 cells that {track} marks" in problem.reason
    assert "use --truth ST" in problem.reason
    # silver truth is read all the same
    silver = {"01_ST/SEG/man_seg001.tif": tif(LABELS)}
    (tmp_path / "more").mkdir()
    samples, problems = read(write_source(tmp_path / "more", files | silver, kind), truth="ST")
    assert len(samples) == 10 and not problems
    assert f"lacks 1 of the 3 cells that {track} marks" in problems.lines_of_notes()


def test_gold_truth_without_markers(tmp_path):
    files = {name: data for name, data in good_files().items() if "TRA" not in name}
    samples, problems = read(write_source(tmp_path, files, "zip"))
    assert len(samples) == 4 and not problems
    assert problems.lines_of_notes().count("has no markers, 0") == 4


def test_truth_that_is_not_there(tmp_path, kind):
    files = {name: data for name, data in good_files().items() if "_ST/" not in name}
    source = write_source(tmp_path, files, kind)
    with pytest.raises(DataError, match="source.*holds no 01_ST/SEG.*choose the other truth, GT"):
        CtcReader(source, ProblemLog(), truth="ST")
    with pytest.raises(DataError, match="truth 'gold': is GT"):
        CtcReader(source, ProblemLog(), truth="gold")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_frames_of_16_bits_and_labels_of_any(tmp_path, dtype):
    frame = tif(RNG.integers(0, 40000, (12, 16)).astype(np.uint16))
    labels = (LABELS > 0).astype(dtype) * 9
    files = {"01/t000.tif": frame, "01_GT/SEG/man_seg000.tif": tif(labels)}
    (sample,), problems = read(write_source(tmp_path, files, "zip"))
    assert (sample.image, sample.stain, len(problems)) == (frame, "", 0)
    assert (coco_mask.decode(sample.masks[0]) == labels // 9).all()


@given(hnp.arrays(np.uint16, (7, 9), elements=st.sampled_from([0, 0, 1, 5, 65535])))
def test_every_label_is_an_object(tmp_path_factory, labels):
    files = {"01/t000.tif": tif(labels), "01_GT/SEG/man_seg000.tif": tif(labels)}
    source = write_source(tmp_path_factory.mktemp("source"), files, "zip")
    (sample,), problems = read(source)
    assert not problems
    again = np.zeros_like(labels)
    for number, rle in zip(np.unique(labels[labels > 0]), sample.masks, strict=True):
        again[coco_mask.decode(rle) == 1] = number
    assert (again == labels).all()


STACK = np.zeros((5, 12, 16), np.uint16)

# files that are changed, scope, item and reason of the problem, and whether 01__t001 remains
SEG = "01_GT/SEG/man_seg001.tif"
BAD = {
    "cut short": ({SEG: tif(LABELS)[:-50]}, "image", SEG, "cut short"),
    "empty file": ({SEG: b""}, "image", SEG, "cannot be read"),
    "no TIFF": ({SEG: b"text" * 9}, "image", SEG, "cannot be read"),
    "other size": ({SEG: tif(LABELS.T)}, "image", SEG, "but the image 01/t001.tif is"),
    "a stack": ({SEG: tif(STACK)}, "image", SEG, "is a stack"),
    "in colour": ({SEG: tif(np.arange(576).reshape(12, 16, 3))}, "image", SEG, "not a label image"),
    "a fraction": ({SEG: tif(LABELS.astype(np.float32) / 2)}, "image", SEG, "no integers"),
    "below 0": ({SEG: tif(LABELS.astype(np.int16) - 1)}, "image", SEG, "negative numbers"),
    "frame cut short": ({"01/t001.tif": FRAMES[1][:-9]}, "image", "01/t001.tif", ""),
    "frame is a stack": ({"01/t001.tif": tif(STACK)}, "image", "01/t001.tif", "is a stack"),
    "no frame": ({"01/t001.tif": None}, "image", SEG, "has no image 01/t001.tif; add it"),
    "other digits": (
        {SEG: None, "01_GT/SEG/man_seg0001.tif": tif(LABELS)},
        "image", "01_GT/SEG/man_seg0001.tif", "has no image 01/t0001.tif",
    ),
    "other name": (
        {SEG: None, "01_GT/SEG/seg1.tif": tif(LABELS)},
        "file", "01_GT/SEG/seg1.tif", "is not called man_seg and the 3 or 4 digits",
    ),
    "a slice": (
        {SEG: None, "01_GT/SEG/man_seg_001_005.tif": tif(LABELS)},
        "file", "01_GT/SEG/man_seg_001_005.tif", "of a slice of a three-dimensional image",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, kind, case):
    change, scope, item, reason = BAD[case]
    files = good_files() | change
    files = {name: data for name, data in files.items() if data is not None}
    samples, problems = read(write_source(tmp_path, files, kind))
    assert [sample.name for sample in samples] == ["01__t004", "02__t001", "02__t004"]
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == (scope, item)
    assert reason in problem.reason and problem.reason


def test_a_set_of_three_dimensions(tmp_path, kind):
    files = {f"01/t{t:03}.tif": tif(STACK) for t in range(2)}
    files |= {f"01_GT/SEG/man_seg_{t:03}_{z:03}.tif": b"" for t in range(2) for z in range(3)}
    source = write_source(tmp_path, files, kind)
    assert CtcReader.fits(list(files))
    with pytest.raises(DataError) as error:
        CtcReader(source, ProblemLog())
    assert "01_GT/SEG/man_seg_000_000.tif: is of a slice" in str(error.value)
    assert "(and 5 more of this sequence)" in str(error.value)
