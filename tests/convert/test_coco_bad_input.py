"""Bad COCO files and images: what is left out, and what is said."""

from __future__ import annotations

import json

import pytest
from coco_source import SQUARE, good_content, good_files, image, read_coco
from dsb2018_source import NOISE, png, write_source

from maskrcnnpp.errors import DataError


def change(edit):
    def changed(files):
        content = json.loads(files["annotations/train.json"])
        edit(content)
        files["annotations/train.json"] = json.dumps(content).encode()

    return changed


def edit_image(number, **values):
    return change(lambda content: content["images"][number].update(values))


def edit_object(number, **values):
    return change(lambda content: content["annotations"][number].update(values))


def add_image(*entries):
    return change(lambda content: content["images"].extend(entries))


def rgb(files):
    files["images/b.jpg"] = files.pop("images/b.png")


A9, B12 = "annotations/train.json: annotation 9", "annotations/train.json: annotation 12"
B = "annotations/train.json: b.png"
# what is done, the scope of the problem, the item, what the reason says, objects of a and b
BAD = {
    "crowd": (edit_object(0, iscrowd=1), "object", A9, "is a crowd", (1, 2)),
    "empty": (edit_object(0, segmentation=[]), "object", A9, "empty segmentation", (1, 2)),
    "box only": (edit_object(0, segmentation=None), "object", A9, "has no segmentation", (1, 2)),
    "no pixel": (
        edit_object(0, segmentation={"size": [12, 16], "counts": [192]}), "object", A9,
        "has no pixel", (1, 2),
    ),
    "odd coordinates": (
        edit_object(0, segmentation=[SQUARE[:-1]]), "object", A9, "coordinates, 7", (1, 2),
    ),
    "two points": (edit_object(0, segmentation=[SQUARE[:4]]), "object", A9, "2 points", (1, 2)),
    "NaN": (
        edit_object(0, segmentation=[[float("nan"), *SQUARE[1:]]]), "object", A9,
        "not a finite number", (1, 2),
    ),
    "mask of another size": (
        edit_object(1, segmentation={"size": [16, 12], "counts": "T6"}), "object", B12,
        "RLE of 12x16 pixels for an image of 16x12", (2, 1),
    ),
    "damaged RLE": (
        edit_object(1, segmentation={"size": [12, 16], "counts": "T"}), "object", B12,
        "damaged", (2, 1),
    ),
    "unknown category": (
        edit_object(0, category_id=99), "object", A9, "of category 99, which the file", (1, 2),
    ),
    "category that is a list": (
        edit_object(0, category_id=[7]), "object", A9, "category [7], which the file does", (1, 2),
    ),
    "unknown image": (
        edit_object(0, image_id=99), "object", A9, "of image 99, which the file does not", (1, 2),
    ),
    "image that is a list": (
        edit_object(0, image_id=[4]), "object", A9, "of image [4], which the file does", (1, 2),
    ),
    "no annotation id": (
        edit_object(0, id=None, segmentation=[]), "object",
        "annotations/train.json: annotation number 0 of the list", "empty segmentation", (1, 2),
    ),
    "missing image": (
        lambda files: files.pop("images/b.png"), "image", B, "the image is missing", (2, None),
    ),
    "image that is not an image": (
        lambda files: files.update({"images/b.png": b"text"}), "image", "images/b.png",
        "cannot be read as an image", (2, None),
    ),
    "truncated image": (
        lambda files: files.update({"images/b.png": files["images/b.png"][:120]}), "image",
        "images/b.png", "cannot be read as an image", (2, None),
    ),
    "other height": (
        edit_image(0, height=13), "image", "images/b.png",
        "is 12 pixels high; the annotation file says 13", (2, None),
    ),
    "size that is a text": (
        edit_image(0, width="16"), "image", "images/b.png", "is 16 pixels wide", (2, None),
    ),
    "no file name": (
        edit_image(0, file_name=None), "image", "annotations/train.json: image 30",
        "has no file_name", (2, None),
    ),
    "file of another kind": (
        edit_image(0, file_name="b.gif"), "image", "annotations/train.json: b.gif",
        "is not an image that can be read", (2, None),
    ),
    "path out of the source": (
        edit_image(0, file_name="../x.png"), "image", "annotations/train.json: ../x.png",
        "leads out of the source", (2, None),
    ),
    "absolute path": (
        edit_image(0, file_name="/etc/x.png"), "image", "annotations/train.json: /etc/x.png",
        "leads out of the source", (2, None),
    ),
    "Windows path": (
        edit_image(0, file_name="C:\\x.png"), "image", "annotations/train.json: C:\\x.png",
        "leads out of the source", (2, None),
    ),
    "name of several files": (
        lambda files: files.update({"more/b.png": b""}), "image", B,
        "with --images: images/b.png, more/b.png", (2, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, kind, case):
    damage, scope, item, reason, remaining = BAD[case]
    files = good_files()
    damage(files)
    samples, problems, reader = read_coco(write_source(tmp_path, files, kind))
    objects = tuple(len(samples[n].masks) if n in samples else None for n in ("a", "b"))
    assert objects == remaining
    (problem,) = problems.problems
    assert (problem.scope, problem.item) == (scope, item)
    assert reason in problem.reason
    assert len(reader.names) == 2  # bad ones too
    problems.skip_bad = False
    with pytest.raises(DataError) as error:
        problems.raise_unless_skipped("source")
    assert item in str(error.value) and reason in str(error.value)


@pytest.mark.parametrize(
    ("entries", "reason", "left"),
    [
        ([image(30, "c.png")], "2 images have its id, 30", ["a"]),
        ([image(31, "b.png")], "2 images are this one file", ["a"]),
        ([image(31, "images/b.png")], "2 images are this one file", ["a"]),
    ],
)
def test_images_that_are_listed_twice_are_left_out(tmp_path, entries, reason, left):
    files = {**good_files(), "images/c.png": png(NOISE)}
    add_image(*entries)(files)
    samples, problems, reader = read_coco(write_source(tmp_path, files, "zip"))
    assert list(samples) == left
    assert [problem.scope for problem in problems.problems] == ["image", "image"]
    assert all(reason in problem.reason for problem in problems.problems)
    assert len(reader.names) == 3


def test_two_images_of_one_name(tmp_path):
    files = {**good_files(), "images/a.tif": b""}
    add_image(image(31, "a.tif"))(files)
    samples, problems, reader = read_coco(write_source(tmp_path, files, "zip"))
    assert sorted(samples) == ["a", "b"] and len(reader.names) == 3
    assert "two images would be called a: this and images/a.png" in problems.lines()


def test_a_name_that_is_no_file_name(tmp_path):
    files = {**good_files(), "images/what?.png": png(NOISE)}
    add_image(image(31, "what?.png"))(files)
    samples, problems, _ = read_coco(write_source(tmp_path, files, "zip"))
    assert sorted(samples) == ["a", "b"]
    assert "what?.png\tcannot be a file name on every system" in problems.lines()


def text(data):
    return lambda files: files.update({"annotations/train.json": data})


UNUSABLE = {
    "no JSON": (lambda files: files.pop("annotations/train.json"), "holds no JSON file"),
    "cut short": (text(json.dumps(good_content()).encode()[:-30]), "cannot be read as a COCO"),
    "not UTF-8": (text(b"\xff\xfe{}"), "cannot be read as a COCO"),
    "nested without end": (text(b"[" * 200_000), "cannot be read as a COCO"),
    "a list": (text(b"[]"), "not a COCO annotation file"),
    "something else": (text(b'{"shapes": []}'), "not a COCO annotation file"),
    "a test set": (change(lambda c: c.pop("annotations")), "has no annotations; is it the list"),
    "no images": (change(lambda c: c["images"].clear()), "lists no image"),
    "images no list": (change(lambda c: c.update(images=3)), "'images' is not a list"),
    "an image no object": (change(lambda c: c["images"].append(3)), "number 2 is not an object"),
    "an image without id": (edit_image(1, id=None), 'image number 1 of the list has no "id"'),
    "an annotation no object": (
        change(lambda c: c["annotations"].append(None)), "annotation number 4 is not an object",
    ),
    "boxes": (
        change(lambda c: [entry.pop("segmentation") for entry in c["annotations"]]),
        "boxes without masks",
    ),
    "no categories": (change(lambda c: c["categories"].clear()), "lists no category"),
    "two categories of one name": (
        change(lambda c: c["categories"][0].update(name="nucleus")),
        "categories 2 and 7 are both called 'nucleus'",
    ),
    "two categories of one id": (
        change(lambda c: c["categories"][0].update(id=2)), "have the same category id 2",
    ),
    "category id that is a text": (
        change(lambda c: c["categories"][0].update(id="7")), "'cell' has no integer as id: '7'",
    ),
    "category without name": (
        change(lambda c: c["categories"][0].pop("name")), "category 7 has no name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_source_of_no_use(tmp_path, kind, case):
    damage, message = UNUSABLE[case]
    files = good_files()
    damage(files)
    source = write_source(tmp_path, files, kind)
    with pytest.raises(DataError) as error:
        read_coco(source)
    assert str(error.value).startswith(f"{source}: ") and message in str(error.value)
    assert "train.json" in str(error.value) or case == "no JSON"


def test_a_folder_of_images_that_is_not_there(tmp_path, kind):
    source = write_source(tmp_path, good_files(), kind)
    with pytest.raises(DataError, match="has no folder pictures with files; check --images"):
        read_coco(source, images="pictures")
    samples, problems, _ = read_coco(source, images="annotations")
    assert not samples and problems.lines().count("missing in annotations") == 2
