"""Which label image belongs to which image, and that nothing is passed over in silence."""

import io
import json
import pickle

import numpy as np
import pytest
import tifffile
from dsb2018_source import png, write_source
from PIL import Image

from maskrcnnpp import cli
from maskrcnnpp.convert.convert import open_reader
from maskrcnnpp.convert.problems import ProblemLog
from maskrcnnpp.convert.readers.label_names import find_pairs
from maskrcnnpp.errors import DataError
from maskrcnnpp.images.companions import LABEL_ENDINGS

LABELS = np.zeros((40, 50), np.uint16)
for _n in range(4):
    LABELS[2 + 9 * _n : 8 + 9 * _n, 3:9] = 7 * _n + 1
IMAGE = png((LABELS > 0).astype(np.uint8) * 90)


def tif(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def saved(image, kind="png"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def read(source, layout="auto", **options):
    problems = ProblemLog(skip_bad=True)
    reader = open_reader(layout, source, problems, options)
    return {s.name: len(s.masks) for s in reader.read(workers=0)}, problems


def told(names, endings=LABEL_ENDINGS):
    pairs, problems = find_pairs(names, endings)
    return pairs, [(p.scope, p.item, p.reason) for p in problems]


@pytest.mark.parametrize(
    ("more", "item", "words"),
    [
        ("images/b.png", "images/b.png", "has no label image, as another has labels/a.tif"),
        ("labels/b.tif", "labels/b.tif", "has no image of its name"),
        ("images/a.jpg", "labels/a.tif", "fits images/a.jpg and images/a.png; keep one"),
        ("labels/a.png", "images/a.png", "has several label images, labels/a.png and labels/a.tif"),
        ("masks/a.png", "images/a.png", "has several label images, labels/a.tif and masks/a.png"),
        ("raw/a.png", "labels", "its labels fit the files in images and raw: keep one"),
    ],
)
def test_files_that_cannot_be_paired(more, item, words):
    _, problems = told(["images/a.png", "labels/a.tif", more])
    ((scope, where, reason),) = problems
    assert scope != "note" and where == item and words in reason


def test_files_beside_one_another_that_cannot_be_paired():
    names = ["a.png", "a_masks.tif", "b.png", "c_masks.tif", "a_flows.tif", "a.png.overlay.png"]
    pairs, problems = told(names)
    assert pairs == [("a.png", "a_masks.tif")]
    assert [item for _, item, _ in problems] == ["b.png", "c_masks.tif"]


def test_only_the_folder_of_images_is_taken_for_images():
    folders = ("tissue images", "overlay", "distance maps", "label masks modify", "mask binary")
    names = [f"human/{folder}/h_{k}.png" for folder in folders for k in (1, 2)]
    names += [f"human/label masks/h_{k}.tif" for k in (1, 2)]
    pairs, problems = told(names)
    expected = [f"human/tissue images/h_{k}.png" for k in (1, 2)]
    assert [image for image, _ in pairs] == expected
    assert {scope for scope, _, _ in problems} == {"note"} and len(problems) == 4
    pairs, problems = told([name for name in names if "tissue" not in name])
    assert not pairs and "keep one of these folders, call it images" in problems[0][2]


def test_names_of_other_programs():
    cellpose = [
        "000_img.png",
        "000_masks.png",
        "001_img.tif",
        "001_img_seg.npy",
        "001_img_flows.tif",
    ]
    pairs, problems = told(cellpose)
    assert pairs == [("000_img.png", "000_masks.png"), ("001_img.tif", "001_img_seg.npy")]
    assert not problems
    own = ["x/a.png", "x/a.png.labels.tif", "x/a.png.overlay.png"]
    assert told(own) == ([("x/a.png", "x/a.png.labels.tif")], [])
    assert told(["images/a.png", "labels/a.png.labels.tif"])[0]


def seg_npy(masks, **more):
    file = io.BytesIO()
    np.save(file, {"masks": masks, "filename": "a.png", "flows": [masks, [1]], **more})
    return file.getvalue()


@pytest.mark.parametrize(
    "made", [LABELS, np.asfortranarray(LABELS), LABELS.astype(">i4"), LABELS[None]]
)
def test_masks_of_cellpose(tmp_path, made):
    files = {"a_img.png": IMAGE, "a_img_seg.npy": seg_npy(made, est_diam=np.float64(3))}
    counts, problems = read(write_source(tmp_path, files, "zip"))
    assert counts == {"a_img": 4} and not problems


class _Evil:
    def __reduce__(self):
        return np.load, ("nowhere.npy",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (seg_npy("text"), 'has no array "masks"'),
        (seg_npy(np.array([{}], dtype=object)), "not an array of numbers"),
        (seg_npy(np.zeros((3, 40, 50), int)), "masks of a stack"),
        (seg_npy(LABELS)[:-900], "damaged"),
        (seg_npy(LABELS / 2), "no integers"),
        (seg_npy(_Evil()), 'has no array "masks"'),
        (seg_npy(LABELS)[:128] + pickle.dumps([1]), 'has no array "masks"'),
    ],
)
def test_what_is_no_file_of_cellpose(tmp_path, content, words):
    files = {"a.png": IMAGE, "a_seg.npy": content}
    counts, problems = read(write_source(tmp_path, files, "zip"), "labels")
    assert not counts and words in problems.lines()


COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 9, 0), (7, 7, 7), (0, 0, 1)], np.uint8)
DENSE = np.unique(LABELS, return_inverse=True)[1].reshape(LABELS.shape).astype(np.uint8)


def palette(first=(9, 9, 9)):
    image = Image.fromarray(DENSE)
    image.putpalette([int(v) for v in np.vstack([[first], COLOURS[1:]]).ravel()])
    assert image.mode == "P"
    return image


KINDS = {
    "palette.png": saved(palette()),
    "palette.bmp": saved(palette(), "bmp"),
    "palette.tif": tif(
        DENSE,
        photometric="palette",
        colormap=np.random.default_rng(0).integers(1, 65536, (3, 256)).astype(np.uint16),
    ),
    "grey as RGB.png": png(np.dstack([DENSE * 40] * 3)),
    "RGBA.png": png(np.dstack([DENSE] * 3 + [np.full_like(DENSE, 255)])),
    "grey and alpha.png": saved(Image.merge("LA", [Image.fromarray(DENSE)] * 2)),
    "a colour an object.png": png(COLOURS[DENSE]),
    "grey as RGB.tif": tif(np.dstack([LABELS] * 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_label_images(tmp_path, kind):
    suffix = kind.rsplit(".", 1)[1]
    files = {"images/a.png": IMAGE, f"labels/a.{suffix}": KINDS[kind]}
    counts, problems = read(write_source(tmp_path, files, "zip"))
    assert counts == {"a": 4} and not problems and not problems.notes


MASK = (LABELS > 0).astype(np.uint8)
OUTLINED = DENSE.copy()
OUTLINED[[2, 7, 11, 16], 3:9] = 255
DOUBTS = {
    "0 and 255": (
        MASK * 255,
        "has one value, 255, in 4 pieces: is it a foreground mask? use --",
    ),
    "0 and 1": (
        MASK,
        "has one value, 1, in 4 pieces: is it a foreground mask? use --format",
    ),
    "inverted": (255 - 255 * MASK, "has 255 on 93% of the image, at all four sides and around"),
    "a number for the background": (DENSE + 1, "has 1 on 93% of the image, at all four sides"),
    "classes": (np.tile(MASK, (2, 2))[:40, :50] + np.roll(MASK, 20, 1) * 2, "are they classes?"),
    "outlines": (OUTLINED, "has 255 in 4 pieces beside the labels up to 4"),
    "transparent": (np.dstack([DENSE] * 3 + [255 - 255 * MASK]), "labels where it is transparent"),
}


@pytest.mark.parametrize("layout", ["auto", "labels"])
@pytest.mark.parametrize("case", DOUBTS)
def test_what_is_no_label_image(tmp_path, layout, case):
    array, words = DOUBTS[case]
    files = {"images/a.png": IMAGE, "labels/a.png": png(array.astype(np.uint8))}
    files |= {"images/b.png": IMAGE, "labels/b.png": png(DENSE)}
    counts, problems = read(write_source(tmp_path, files, "zip"), layout)
    assert counts == {"b": 4}
    (problem,) = problems.problems
    assert problem.item == "labels/a.png" and words in problem.reason


def test_a_palette_in_which_the_background_is_not_clear(tmp_path):
    image = palette()
    image.putpalette([9, 9, 9, 0, 0, 0, 8, 8, 8, 7, 7, 7, 6, 6, 6])
    files = {"images/a.png": IMAGE, "labels/a.png": saved(image)}
    counts, problems = read(write_source(tmp_path, files, "zip"))
    assert not counts and "1 is black and 0 is not" in problems.lines()


@pytest.mark.parametrize("others", [True, False])
def test_one_object_in_two_pieces_is_one_where_other_files_are_label_images(tmp_path, others):
    array = np.where(LABELS > 10, 0, MASK).astype(np.uint8)
    files = {"images/a.png": IMAGE, "labels/a.png": png(array)}
    if others:
        files |= {"images/b.png": IMAGE, "labels/b.png": png(DENSE)}
    counts, problems = read(write_source(tmp_path, files, "zip"))
    if others:
        assert counts == {"a": 1, "b": 4} and not problems
        assert "has one value, 1, in 2 pieces" in problems.lines_of_notes()
        assert "1 of 1 objects in several pieces, object 1 in 2" in problems.lines_of_notes()
    else:
        assert not counts and "--format binary" in problems.lines()


def test_a_list_of_pairs_needs_no_format(tmp_path):
    source = write_source(tmp_path, {"one.png": IMAGE, "two.tif": tif(LABELS)}, "zip")
    (tmp_path / "list.csv").write_text("image,labels\none.png,two.tif\n")
    counts, problems = read(source, pairs=tmp_path / "list.csv")
    assert counts == {"one": 4} and not problems


def test_labels_that_are_jpeg_files(tmp_path):
    files = {"images/a.png": IMAGE, "labels/a.jpg": saved(Image.fromarray(DENSE * 40), "jpeg")}
    with pytest.raises(DataError, match="is a JPEG file, whose numbers are not those"):
        problems = ProblemLog()
        reader = open_reader("auto", write_source(tmp_path, files, "zip"), problems, {})
        list(reader.read(workers=0))
        problems.raise_unless_skipped(reader.source)


def test_notes_are_listed_beside_the_annotations(tmp_path, capsys):
    labels = np.where(DENSE == 4, 3, DENSE)
    files = {"images/a.png": IMAGE, "labels/a.png": png(labels.astype(np.uint8))}
    source = write_source(tmp_path, files, "zip")
    for _ in range(2):  # the second time over the first result
        cli.main(["convert", "--input", str(source), "--output", str(tmp_path / "out")])
    assert "object 3 in 2: is each of them a single object?" in capsys.readouterr().out
    folder = tmp_path / "out" / "annotations"
    assert sorted(p.name for p in folder.iterdir()) == ["instances_all.json", "notes.txt"]
    assert (folder / "notes.txt").read_text().startswith("note\ta.png\t1 of 3 objects")
    assert len(json.loads((folder / "instances_all.json").read_text())["annotations"]) == 3
