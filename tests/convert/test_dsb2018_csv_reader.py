"""The reader of Kaggle's run-length tables, on good and on bad sources."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from dsb2018_source import NOISE, png, write_source
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.dsb2018_csv import Dsb2018CsvReader
from maskrcnnpp.errors import DataError

# of an image of 12 rows and 16 columns: rows 1 to 3 of columns 2 and 3; columns 14 and 15
RUNS = {"a": ["26 3 38 3", "169 24"], "b": ["1 1"], "c": [""]}
IMAGES = {name: png(NOISE if name == "a" else NOISE[..., 0]) for name in RUNS}
TABLE = "stage1_train_labels.csv"


def table(runs=RUNS, **columns) -> bytes:
    rows = [(name, text) for name, of_image in runs.items() for text in of_image]
    more = [x if isinstance(x, list) else [x] * len(rows) for x in columns.values()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ImageId", "EncodedPixels", *columns])
    writer.writerows([*row, *others] for row, *others in zip(rows, *more))
    return text.getvalue().encode()


def good_files() -> dict[str, bytes]:
    pictures = {f"stage1_train/{n}/images/{n}.png": data for n, data in IMAGES.items()}
    return {**pictures, TABLE: table()}


def read(source: Path, workers: int = 0, **options):
    problems = ProblemLog(skip_bad=True)
    reader = Dsb2018CsvReader(source, problems, **options)
    return {sample.name: sample for sample in reader.read(workers=workers)}, problems, reader


def decoded(runs: str, height: int, width: int) -> np.ndarray:
    """The mask, as Kaggle explains the format."""
    numbers = list(map(int, runs.split()))
    flat = np.zeros(height * width, np.uint8)
    for start, length in zip(numbers[::2], numbers[1::2]):
        flat[start - 1 : start - 1 + length] = 1
    return flat.reshape(width, height).T


PLACES = [
    "stage1_train/{0}/images/{0}.png", "{0}/images/{0}.png", "{0}.png", "images/{0}.png",
    "x/y/{0}.png",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_good_source(tmp_path, kind, place):
    files = {place.format(name): data for name, data in IMAGES.items()}
    files |= {TABLE: table(), "not_listed.png": png(NOISE), "__MACOSX/._a.png": b"x"}
    source = write_source(tmp_path, files, kind)
    samples, problems, reader = read(source)
    assert not problems
    assert reader.names == list(samples) == ["a", "b", "c"]
    for name, sample in samples.items():
        assert sample.image == IMAGES[name]
        assert (sample.suffix, sample.height, sample.width) == (".png", 12, 16)
        expected = [decoded(runs, 12, 16) for runs in RUNS[name] if runs]
        assert sample.category_ids == (1,) * len(expected)
        for rle, mask in zip(sample.masks, expected, strict=True):
            np.testing.assert_array_equal(coco_mask.decode(rle), mask)
    assert coco_mask.toBbox(samples["a"].masks[0]).tolist() == [2, 1, 2, 3]
    assert read(source, workers=2)[0] == samples


def test_further_columns_and_line_ends(tmp_path, kind):
    """As in stage1_solution.csv, and as Excel writes it."""
    data = table(Height=12, Width=16, Usage="Private").replace(b"\n", b"\r\n")
    files = {**good_files(), TABLE: b"\xef\xbb\xbf" + data}
    samples, problems, _ = read(write_source(tmp_path, files, kind))
    assert not problems and [len(s.masks) for s in samples.values()] == [2, 1, 0]


def test_other_image_files(tmp_path):
    files = {"a.PNG": IMAGES["a"], "b.png": IMAGES["b"], TABLE: table({"a": ["5 2"], "b": ["9 1"]})}
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert not problems and samples["a"].suffix == ".png"


def test_names_with_spaces_commas_and_other_letters(tmp_path, kind):
    names = ["zwei kerne", "eins, zwei", "µ.1"]
    files = {f"images/{name}.png": png(NOISE) for name in names}
    files[TABLE] = table({name: ["3 4"] for name in names})
    samples, problems, _ = read(write_source(tmp_path, files, kind))
    assert not problems and sorted(samples) == sorted(names)


def test_masks_beside_images_are_no_images(tmp_path):
    files = {**good_files(), "stage1_train/a/masks/a.png": b"", "labels/b.png": b""}
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert not problems and len(samples) == 3


def test_runs_longer_than_a_csv_field_may_be(tmp_path):
    shape = (400, 600)
    grid = np.zeros(shape, bool)
    grid[::2] = True  # a run each second pixel
    starts = np.flatnonzero(grid.T.ravel()) + 1
    text = " ".join(f"{start} 1" for start in starts)
    assert len(text) > csv.field_size_limit()
    files = {"a.png": png(np.zeros(shape, np.uint8)), TABLE: table({"a": [text]})}
    usual = csv.field_size_limit()
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert not problems and csv.field_size_limit() == usual
    np.testing.assert_array_equal(coco_mask.decode(samples["a"].masks[0]), grid)


@pytest.mark.parametrize("runs", ["38 3 26 3", "26 3 38 1 39 1 40 1", " 26  3\t38 3 "])
def test_order_and_pieces_of_runs_do_not_matter(tmp_path, runs):
    files = {"a.png": IMAGES["a"], TABLE: table({"a": [runs, "26 3 38 3"]})}
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert not problems and samples["a"].masks[0] == samples["a"].masks[1]


def test_several_tables(tmp_path, kind):
    files = {**good_files(), "other.csv": table({"b": ["2 2"]})}
    source = write_source(tmp_path, files, kind)
    with pytest.raises(DataError, match="2 CSV files; name one with --table: other.csv, stage1"):
        read(source)
    samples, problems, _ = read(source, table="other.csv")
    assert not problems and list(samples) == ["b"]
    with pytest.raises(DataError, match="holds no CSV file more.csv; --table takes a name"):
        read(source, table="more.csv")


def runs(text):
    return lambda files: files.update({TABLE: table({**RUNS, "b": ["1 1", text]})})


def lines(*added):
    return lambda files: files.update({TABLE: files[TABLE] + "\n".join(added).encode()})


def columns(**values):
    return lambda files: files.update({TABLE: table(**values)})


B = "stage1_train/b/images/b.png"
ROW = f"{TABLE}: line 5"
# what is done, the scope, the item, the reason, objects of a, b, c
BAD = {
    "odd": (runs("5 2 9"), "object", ROW, "3 numbers, which are no pairs", (2, 1, 0)),
    "place 0": (runs("0 2"), "object", ROW, "counted from 1", (2, 1, 0)),
    "negative place": (runs("-4 2"), "object", ROW, "counted from 1", (2, 1, 0)),
    "length 0": (runs("5 0"), "object", ROW, "not positive", (2, 1, 0)),
    "negative length": (runs("5 1 9 -2"), "object", ROW, "not positive", (2, 1, 0)),
    "outside": (runs("5 2 192 2"), "object", ROW, "ends outside the image of 16x12", (2, 1, 0)),
    "begins outside": (runs("193 1"), "object", ROW, "ends outside the image", (2, 1, 0)),
    "overflowing": (runs(f"{2**63 - 1} 5"), "object", ROW, "ends outside", (2, 1, 0)),
    "of too many digits": (runs("9" * 30 + " 5"), "object", ROW, "ends outside", (2, 1, 0)),
    "of many thousand digits": (runs("9" * 9999 + " 5"), "object", ROW, "ends outside", (2, 1, 0)),
    "overlapping": (runs("5 3 7 2"), "object", ROW, "runs that overlap", (2, 1, 0)),
    "twice": (runs("5 3 9 1 5 3"), "object", ROW, "runs that overlap", (2, 1, 0)),
    "words": (runs("5 x"), "object", ROW, "no integers", (2, 1, 0)),
    "fractions": (runs("5.0 2.0"), "object", ROW, "no integers", (2, 1, 0)),
    "underscores": (runs("1_0 2"), "object", ROW, "no integers", (2, 1, 0)),
    "empty beside others": (runs(""), "object", ROW, "has no runs", (2, 1, 0)),
    "no id": (lines(",3 4"), "object", f"{TABLE}: line 6", "has no ImageId", (2, 1, 0)),
    "cut short": (lines("c"), "object", f"{TABLE}: line 6", "another number of columns", (2, 1, 0)),
    "too long": (
        lines("c,3 4,5"), "object", f"{TABLE}: line 6", "another number of columns", (2, 1, 0),
    ),
    "missing image": (
        lambda files: files.pop(B), "image", f"{TABLE}: b", "the image is missing", (2, None, 0),
    ),
    "several images": (
        lambda files: files.update({"more/b.jpg": b""}), "image", f"{TABLE}: b",
        f"several images are called so; keep one: more/b.jpg, {B}", (2, None, 0),
    ),
    "no image": (
        lambda files: files.update({B: b"text"}), "image", B, "cannot be read", (2, None, 0),
    ),
    "truncated image": (
        lambda files: files.update({B: files[B][:90]}), "image", B, "cannot be read", (2, None, 0),
    ),
    "other height": (
        columns(Height=[12, 12, 13, 12]), "image", B, "12 pixels where Height in line 4 says 13",
        (2, None, 0),
    ),
    "width that is a word": (
        columns(Width=["16", "16", "?", "16"]), "image", B, "Width in line 4 says ?", (2, None, 0),
    ),
    "ignored": (
        columns(Usage=["Private", "Private", "Ignored", "Private"]), "image", f"{TABLE}: b",
        "says Ignored", (2, None, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, kind, case):
    damage, scope, item, reason, remaining = BAD[case]
    files = good_files()
    damage(files)
    samples, problems, reader = read(write_source(tmp_path, files, kind))
    objects = tuple(len(samples[n].masks) if n in samples else None for n in "abc")
    assert objects == remaining
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == (scope, item)
    assert reason in problem.reason
    assert reader.names == ["a", "b", "c"]


def test_a_table_that_may_be_cut_short(tmp_path, kind):
    """ "169 24" became "169 2", which is as good a mask."""
    files = {**good_files(), TABLE: table({"a": RUNS["a"]})[:-2]}
    samples, problems, _ = read(write_source(tmp_path, files, kind))
    assert len(samples["a"].masks) == 2 and not problems
    assert (
        f"{TABLE}: line 3\tthe last line does not end with a line break"
        in problems.lines_of_notes()
    )


@pytest.mark.parametrize("name", ["../d", "x/d", "what?", "/etc/d", "C:\\d"])
def test_an_id_that_is_no_file_name(tmp_path, name):
    files = {**good_files(), TABLE: table({**RUNS, name: ["1 1"]}), f"{name}.png": png(NOISE)}
    samples, problems, _ = read(write_source(tmp_path, files, "zip"))
    assert list(samples) == ["a", "b", "c"]
    problem = problems.problems[-1]
    assert problem.item == f"{TABLE}: {name}"
    assert "cannot be a file name" in problem.reason or "leads out of" in problem.reason


UNUSABLE = {
    "no table": (lambda files: files.pop(TABLE), "holds no CSV file"),
    "no text": (lambda files: files.update({TABLE: b"\xff\xfe\x00"}), "cannot be read as a table"),
    "an open quote": (lines('c,"3 4'), "cannot be read as a table"),
    "empty": (lambda files: files.update({TABLE: b""}), "no column ImageId and EncodedPixels"),
    "other columns": (
        lambda files: files.update({TABLE: b"ImageId,class\na,1\n"}), "no column EncodedPixels;",
    ),
    "no rows": (lambda files: files.update({TABLE: b"ImageId,EncodedPixels\n"}), "has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_source_of_no_use(tmp_path, kind, case):
    damage, message = UNUSABLE[case]
    files = good_files()
    damage(files)
    source = write_source(tmp_path, files, kind)
    with pytest.raises(DataError) as error:
        read(source)
    assert str(error.value).startswith(f"{source}: ") and message in str(error.value)
    assert TABLE in str(error.value) or case == "no table"


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (["stage1_train_labels.csv", "stage1_train/a/images/a.png"], True),
        (["stage1_solution.csv", "a.png"], True),
        (["a.csv", "b.csv", "images/a.png"], True),
        (["a.png"], False),
        (["labels.csv"], False),
        (["classes.csv", "a/images/a.png", "a/masks/1.png"], False),
        (["names.csv", "images/a.png", "labels/a.png"], False),
        (["names.csv", "images/a.png", "train.json"], False),
        (["names.csv", "a.png", "a.mat"], False),
        (["names.csv", "a.png", "a.xml"], False),
        (["__MACOSX/names.csv", "a.png"], False),
    ],
)
def test_fits(names, fits):
    assert Dsb2018CsvReader.fits(names) is fits
