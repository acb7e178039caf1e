"""The reader of MATLAB files of HoVer-Net's data sets, on good and on bad sources."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dsb2018_source import png, write_source
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from scipy.io import savemat
from scipy.sparse import csc_matrix

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.hovernet import HovernetReader
from maskrcnnpp.convert.readers.labels import LabelsReader
from maskrcnnpp.convert.readers.mat import read_mat
from maskrcnnpp.convert.readers.monuseg import MonusegReader
from maskrcnnpp.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
MAP = np.zeros((12, 16))
MAP[1:4, 2:6] = 7
MAP[5:9, 0:3] = 2
MAP[10:, 14:] = 40
TYPES = np.array([[3.0], [1.0], [3.0]])  # of 2, 7 and 40
TYPE_MAP = np.select([MAP == 2, MAP == 7, MAP == 40], [3.0, 1.0, 3.0])


def mat(**variables) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


CONSEP = mat(inst_map=MAP, type_map=TYPE_MAP, inst_type=TYPES, inst_centroid=np.zeros((3, 2)))
KUMAR = mat(inst_map=MAP)


def files_of(**labels: bytes) -> dict[str, bytes]:
    files = {}
    for name, content in labels.items():
        files[f"Train/Images/{name}.png"] = png(PIXELS)
        files[f"Train/Labels/{name}.mat"] = content
    return files


def read(source: Path, workers: int = 0, **options):
    problems = ProblemLog(skip_bad=True)
    reader = HovernetReader(source, problems, **options)
    return list(reader.read(workers=workers)), problems, reader.categories


def check_masks(sample, inst_map: np.ndarray = MAP) -> None:
    numbers = np.unique(inst_map[inst_map > 0])
    assert len(sample.masks) == len(numbers)
    for number, rle in zip(numbers, sample.masks):
        assert (coco_mask.decode(rle) == (inst_map == number)).all()


def test_consep(tmp_path, kind):
    files = files_of(train_1=CONSEP, train_2=CONSEP) | {"Train/Overlay/train_1.png": b""}
    source = write_source(tmp_path, files, kind)
    samples, problems, categories = read(source)
    assert not problems
    assert categories == [{"id": n, "name": f"type {n}"} for n in (1, 2, 3)]
    assert [sample.name for sample in samples] == ["Train__train_1", "Train__train_2"]
    for sample in samples:
        assert (sample.image, sample.suffix) == (png(PIXELS), ".png")
        assert (sample.height, sample.width, sample.stain) == (12, 16, "histology")
        assert sample.category_ids == (3, 1, 3)
        check_masks(sample)
    assert read(source, workers=2)[0] == samples
    assert HovernetReader.fits(list(files))
    assert not MonusegReader.fits(list(files)) and not LabelsReader.fits(list(files))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.float32, np.float64, np.int64])
def test_kumar_has_no_types(tmp_path, kind, dtype):
    files = files_of(**{"ä b": mat(inst_map=MAP.astype(dtype))})
    (sample,), problems, categories = read(write_source(tmp_path, files, kind))
    assert (sample.name, sample.category_ids, len(problems)) == ("Train__ä b", (1, 1, 1), 0)
    assert categories == [{"id": 1, "name": "nucleus"}]
    check_masks(sample)


def test_class_names(tmp_path):
    source = write_source(tmp_path, files_of(a=CONSEP), "zip")
    names = ["other", "inflammatory", "epithelial", "spindle"]
    (sample,), problems, categories = read(source, class_names=names)
    assert [category["name"] for category in categories] == names and not problems
    assert sample.category_ids == (3, 1, 3)
    samples, problems, _ = read(source, class_names=names[:2])
    assert not samples
    assert "a.mat\thas the type 3, but 2 class names were given" in problems.lines()


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""]])
def test_impossible_class_names(tmp_path, names):
    source = write_source(tmp_path, files_of(a=CONSEP), "zip")
    with pytest.raises(DataError, match="class names .*: one or more, all different"):
        HovernetReader(source, ProblemLog(), class_names=names)


NOISY = TYPE_MAP.copy()
NOISY[5, 0:3] = 2  # a minority of the pixels of 2
NOISY[1, 2:6] = NOISY[2, 2:4] = 0  # half of those of 7, but 0 is not a type

HOW_TYPES_ARE_TOLD = {
    "inst_type in a row": {"inst_type": TYPES.T},
    "inst_type before type_map": {"inst_type": TYPES, "type_map": np.full((12, 16), 2)},
    "type_map alone": {"type_map": TYPE_MAP},
    "type_map with noise": {"type_map": NOISY},
    "inst_type too long": {"inst_type": np.ones((40, 1)), "type_map": TYPE_MAP},
    "inst_type too short": {"inst_type": np.ones((2, 1)), "type_map": TYPE_MAP},
    "class in the order of id": {"class": [[1], [3], [3]], "id": [[7], [40], [2]]},
    "class of more than are there": {"class": [[1], [3], [3], [2]], "id": [[7], [40], [2], [5]]},
}


@pytest.mark.parametrize("case", HOW_TYPES_ARE_TOLD)
def test_how_types_are_told(tmp_path, case):
    files = files_of(a=mat(inst_map=MAP, **HOW_TYPES_ARE_TOLD[case]))
    (sample,), problems, _ = read(write_source(tmp_path, files, "zip"))
    assert sample.category_ids == (3, 1, 3) and not problems
    check_masks(sample)


@settings(max_examples=50)
@given(
    hnp.arrays(np.uint16, (12, 16), elements=st.sampled_from([0, 1, 3, 4, 900])),
    hnp.arrays(np.uint8, (12, 16), elements=st.integers(0, 4)),
)
def test_the_majority_of_type_map(tmp_path_factory, inst_map, type_map):
    files = files_of(a=mat(inst_map=inst_map, type_map=type_map), b=CONSEP)
    source = write_source(tmp_path_factory.mktemp("source"), files, "zip")
    (sample, *others), problems, _ = read(source)
    if not others:
        assert any(w in problems.lines() for w in ("is it the background?", "pieces: "))
        return
    kept, expected = np.zeros_like(inst_map), []
    for number in np.unique(inst_map[inst_map > 0]):
        votes = np.bincount(type_map[inst_map == number], minlength=5)[1:]
        if votes.any():
            kept[inst_map == number] = number
            expected.append(int(votes.argmax()) + 1)
    assert list(sample.category_ids) == expected
    check_masks(sample, kept)
    assert len(problems) == len(np.unique(inst_map[inst_map > 0])) - len(expected)


def test_an_object_without_type_is_left_out_alone(tmp_path):
    files = files_of(a=mat(inst_map=MAP, inst_type=[[3], [0], [3]]))
    (sample,), problems, _ = read(write_source(tmp_path, files, "zip"))
    assert sample.category_ids == (3, 3)
    check_masks(sample, np.where(MAP == 7, 0, MAP))
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == ("object", "Train/Labels/a.mat")
    assert problem.reason == "object 7: has no type (0)"


@pytest.mark.parametrize("types", [{}, {"inst_type": np.zeros((0, 1))}])
def test_an_image_without_objects(tmp_path, types):
    files = files_of(a=mat(inst_map=np.zeros((12, 16)), **types), b=CONSEP)
    (sample, _), problems, _ = read(write_source(tmp_path, files, "zip"))
    assert sample.masks == sample.category_ids == () and not problems


HDF5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n"

BAD = {
    "version 7.3": (HDF5 + bytes(999), "is a MATLAB file of version 7.3; save it as -v7"),
    "cut short": (CONSEP[: len(CONSEP) // 2], "is cut short, or damaged"),
    "cut in the header": (CONSEP[:100], "is not a MATLAB file, or cut short"),
    "empty": (b"", "is not a MATLAB file"),
    "text": (b"inst_map" * 99, "is not a MATLAB file"),
    "no inst_map": (mat(type_map=TYPE_MAP), "has no inst_map"),
    "other size": (mat(inst_map=MAP.T), "is of 12x16 pixels, but the image "),
    "three dimensions": (mat(inst_map=np.zeros((12, 16, 2))), "is not a label image: 12x16x2"),
    "a fraction": (mat(inst_map=MAP / 2, type_map=TYPE_MAP), "no integers"),
    "not a number": (mat(inst_map=np.where(MAP, np.nan, 0)), "no integers"),
    "below 0": (mat(inst_map=MAP - 1), "negative numbers, such as -1"),
    "complex": (mat(inst_map=MAP * 1j), "has inst_map, but not as a full"),
    "text in it": (mat(inst_map="abc"), "has inst_map, but not as a full"),
    "cells": (
        mat(inst_map=np.full((12, 16), "a", dtype=object)), "has inst_map, but not as a full",
    ),
    "a struct": (mat(inst_map={"a": MAP}), "has inst_map, but not as a full"),
    "sparse": (mat(inst_map=csc_matrix(MAP)), "has inst_map, but not as a full"),
    "no types": (KUMAR, "has neither inst_type nor type_map, as others have"),
    "too few types": (mat(inst_map=MAP, inst_type=TYPES[:2]), "has 2 types for 3 objects, and no"),
    "an id that is missing": (
        mat(inst_map=MAP, **{"class": [[1], [2], [3]], "id": [[7], [2], [3]]}),
        "has 2 types for 3 objects",
    ),
    "type_map of another size": (
        mat(inst_map=MAP, type_map=TYPE_MAP[:5]), "a type_map of 16x5 for an inst_map of 16x12",
    ),
    "a fraction of a type": (mat(inst_map=MAP, inst_type=TYPES / 2), "no integers"),
    "a type below 0": (mat(inst_map=MAP, inst_type=-TYPES), "negative numbers"),
    "a huge type": (mat(inst_map=MAP, inst_type=TYPES * 1e6), "has the type 3000000; 255 is the"),
    "a huge type in type_map": (mat(inst_map=MAP, type_map=TYPE_MAP * 100), "has the type 300"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file(tmp_path, kind, case):
    content, message = BAD[case]
    files = files_of(a=CONSEP, bad=content)
    samples, problems, categories = read(write_source(tmp_path, files, kind))
    assert [sample.name for sample in samples] == ["Train__a"]
    assert len(categories) == 3
    (problem,) = problems.problems
    assert (problem.scope, problem.image) == ("image", "Train__bad")
    assert problem.item == "Train/Labels/bad.mat" and message in problem.reason


def test_other_problems_of_a_source(tmp_path, kind):
    files = files_of(a=CONSEP, b=CONSEP) | {
        "Train/Labels/c.mat": CONSEP,
        "Train/Images/d.png": png(PIXELS),
        "Train/Images/b.png": png(PIXELS)[:99],
    }
    samples, problems, _ = read(write_source(tmp_path, files, kind))
    assert len(samples) == 1
    told = {problem.item: problem.reason for problem in problems.problems}
    assert set(told) == {
        f"Train/{name}" for name in ("Labels/c.mat", "Images/d.png", "Images/b.png")
    }
    assert told["Train/Labels/c.mat"].startswith("has no image")
    assert told["Train/Images/d.png"].startswith("has no annotation d.mat")


@pytest.mark.parametrize("compressed", [False, True])
def test_any_damaged_byte_is_survived(compressed):
    """SciPy ends the program at some of them."""
    file = io.BytesIO()
    savemat(file, {"other": "text", "inst_map": MAP.astype(np.uint8)}, do_compression=compressed)
    content, read_or_refused = file.getvalue(), [0, 0]
    for place in range(124, len(content)):
        for value in {0, 1, 9, 15, 33, 128, 255} - {content[place]}:
            damaged = content[:place] + bytes([value]) + content[place + 1 :]
            try:
                found = read_mat(damaged, ["inst_map"])
                assert set(found) <= {"inst_map"}
                read_or_refused[0] += 1
            except DataError:
                read_or_refused[1] += 1
    assert min(read_or_refused) > 0 or compressed


def test_both_orders_of_bytes_and_short_elements():
    """After MATLAB's documentation of its files; savemat writes one order only."""
    for order, mark in (("<", b"\x00\x01IM"), (">", b"\x01\x00MI")):
        flags = struct.pack(f"{order}4I", 6, 8, 9, 0)
        dims = struct.pack(f"{order}2I2i", 5, 8, 2, 2)
        name = struct.pack(f"{order}2I", 1, 8) + b"inst_map"
        tag = 4 << 16 | 2  # four bytes of uint8
        data = flags + dims + name + struct.pack(f"{order}I", tag) + bytes([0, 7, 2, 0])
        matrix = struct.pack(f"{order}2I", 14, len(data)) + data
        content = b"MATLAB 5.0 MAT-file".ljust(124) + mark + matrix
        assert read_mat(content, ["inst_map"])["inst_map"].tolist() == [[0, 2], [7, 0]]
        packed = zlib.compress(matrix)
        content = content[:128] + struct.pack(f"{order}2I", 15, len(packed)) + packed
        assert read_mat(content, ["inst_map"])["inst_map"].tolist() == [[0, 2], [7, 0]]
        with pytest.raises(DataError, match="holds inst_map twice"):
            read_mat(content + content[128:], ["inst_map"])
        with pytest.raises(DataError, match="does not hold as many numbers as it says"):
            more = matrix.replace(dims, struct.pack(f"{order}2I2i", 5, 8, 2, 9))
            read_mat(content[:128] + more, ["inst_map"])


@pytest.mark.parametrize("types", [TYPES * np.nan, TYPES + 0.5, TYPES - 9])
def test_types_that_cannot_be_read_do_not_become_nuclei(tmp_path, types):
    files = files_of(a=mat(inst_map=MAP, inst_type=types), b=mat(inst_map=MAP, type_map=TYPE_MAP))
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert [sample.name for sample in samples] == ["Train__b"]
    files = {name: data for name, data in files.items() if "b." not in name}
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert not samples and "Train/Labels/a.mat" in problems.lines()


def test_an_instance_map_that_is_a_foreground_mask(tmp_path):
    files = files_of(a=mat(inst_map=(MAP > 0) * 255), b=CONSEP)
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert len(samples) == 1 and "has one value, 255, in 3 pieces" in problems.lines()
