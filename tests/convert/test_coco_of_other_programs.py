"""COCO files as other programs write them: what would go wrong without a word."""

import json

import numpy as np
import pytest
from coco_source import FULL, SQUARE, annotation, encode, good_content, good_files, image, read_coco
from dsb2018_source import NOISE, png, write_source
from pycocotools import mask as coco_mask

from maskrcnnpp.convert.convert import find_layout

BOX = [1, 1, 13, 1, 13, 11, 1, 11]
INNER = [4, 4, 9, 4, 9, 8, 4, 8]
ISLAND = [5, 5, 7, 5, 7, 7, 5, 7]


def one(*annotations, categories=None, **more):
    content = {"images": [image(4, "a.png")], "annotations": list(annotations)}
    content["categories"] = categories or [{"id": 7, "name": "cell"}]
    return {**content, **more}


def read(tmp_path, content, **options):
    files = {"images/a.png": png(NOISE), "c.json": json.dumps(content).encode()}
    return read_coco(write_source(tmp_path, files, "zip"), **options)


def area(sample):
    return [int(coco_mask.area(mask)) for mask in sample.masks]


def filled(*rings):
    rles = coco_mask.frPyObjects(list(rings), 12, 16)
    return [coco_mask.decode(rle).astype(bool) for rle in rles]


def test_a_polygon_inside_another_is_a_hole(tmp_path):
    box, inner, island = filled(BOX, INNER, ISLAND)
    content = one(annotation(1, 4, [INNER, BOX, ISLAND]), annotation(2, 4, [BOX]))
    samples, problems, _ = read(tmp_path, content)
    assert not problems
    expected = box & ~inner | island
    assert (coco_mask.decode(samples["a"].masks[0]) == expected).all()
    assert area(samples["a"]) == [120 - 20 + 4, 120]
    assert "annotation 1 (image a)\thas a polygon inside another" in problems.lines_of_notes()
    assert "annotation 2" not in problems.lines_of_notes()


def test_polygons_beside_one_another_are_one_object(tmp_path):
    samples, problems, _ = read(
        tmp_path, one(annotation(1, 4, [SQUARE, [8, 8, 12, 8, 12, 11, 8, 11]]))
    )
    assert area(samples["a"]) == [24]
    assert "polygon inside" not in problems.lines_of_notes()


def crowd(number, **more):
    return {**annotation(number, 4, encode(np.roll(FULL, -3 * number, 1))), "iscrowd": 1, **more}


def test_crowds_that_are_all_there_is_are_objects(tmp_path):
    samples, problems, _ = read(tmp_path, one(crowd(1), crowd(2)))
    assert area(samples["a"]) == [4, 4] and not problems
    assert "all 2 annotations are iscrowd, as CVAT writes masks" in problems.lines_of_notes()


def test_an_image_of_crowds_does_not_become_background(tmp_path):
    content = one(crowd(1), crowd(2), annotation(3, 5, [SQUARE]))
    content["images"].append(image(5, "b.png"))
    files = {f"images/{name}.png": png(NOISE) for name in "ab"} | {
        "c.json": json.dumps(content).encode()
    }
    samples, problems, _ = read_coco(write_source(tmp_path, files, "zip"))
    assert list(samples) == ["b"]
    (problem,) = problems.problems
    assert problem.scope == "image" and "2 annotations, all of them crowds" in problem.reason


def test_categories_that_stand_for_no_object(tmp_path):
    categories = [
        {"id": 0, "name": "cells-x7", "supercategory": "none"},
        {"id": 1, "name": "cell", "supercategory": "cells-x7"},
        {"id": 2, "name": "__ignore__", "supercategory": "cells-x7"},
        {"id": 3, "name": "rare", "supercategory": "cells-x7"},
    ]
    content = one(annotation(1, 4, [SQUARE], 1), annotation(2, 4, [BOX], 2), categories=categories)
    samples, problems, reader = read(tmp_path, content)
    assert [c["name"] for c in reader.categories] == ["cell", "rare"]
    assert samples["a"].category_ids == (1,)
    assert [(p.scope, p.reason) for p in problems.problems] == [
        ("region", "is of the class '__ignore__', which stands for no object")
    ]
    content["annotations"].append(annotation(3, 4, [INNER], 0))  # a class like any other
    _, _, reader = read(tmp_path, content)
    assert [c["name"] for c in reader.categories] == ["cells-x7", "cell", "rare"]


def test_areas_that_are_not_those_of_the_masks(tmp_path):
    good = {**annotation(1, 4, [SQUARE]), "area": 12}
    _, problems, _ = read(tmp_path, one(good, {**good, "id": 2, "area": 13.5}))
    assert not problems
    assert "1 of 2 areas differ by more than 10% from the masks, such as 13.5 of a mask of 12" in (
        problems.lines_of_notes()
    )
    _, problems, _ = read(tmp_path, one(good))
    assert not problems.notes


@pytest.mark.parametrize("segmentation", [[[2, 1, 4, 3]], [[2, 1, 6, 4]]])
def test_a_polygon_of_four_numbers_is_no_box(tmp_path, segmentation):
    samples, problems, _ = read(tmp_path, one(annotation(1, 4, segmentation)))
    assert not samples["a"].masks
    assert "has a polygon: 2 points" in problems.lines()


@pytest.mark.parametrize(
    "name",
    ["/home/me/set/images/a.png", "C:\\set\\images\\a.png", "../images/a.png", "train/a.png"],
)
@pytest.mark.parametrize("options", [{}, {"images": "images"}])
def test_paths_of_another_machine(tmp_path, name, options):
    content = one(annotation(1, 4, [SQUARE]))
    content["images"][0]["file_name"] = name
    files = {"images/a.png": png(NOISE), "old/a.png": png(NOISE), "set/c.json": b"{}"}
    files = {"images/a.png": png(NOISE), "set/dataset.json": json.dumps(content).encode()}
    if name.startswith("train") and options:
        return  # relative to the folder that the user names: it is not there
    source = write_source(tmp_path, files, "zip")
    assert find_layout(source) == "coco"
    samples, problems, _ = read_coco(source, **options)
    assert area(samples["a"]) == [12] and not problems


def test_the_path_that_ends_most_alike_is_taken(tmp_path):
    content = one(annotation(1, 4, [SQUARE]))
    content["images"][0]["file_name"] = "/data/test/a.png"
    files = {f"{k}/a.png": png(NOISE) for k in ("train", "test")} | {
        "c.json": json.dumps(content).encode()
    }
    samples, problems, _ = read_coco(write_source(tmp_path, files, "zip"))
    assert list(samples) == ["test__a"] and not problems


def test_coordinates_of_a_whole_slide(tmp_path):
    far = (np.array(SQUARE) + 9000).tolist()
    content = one(*(annotation(k, 4, [far]) for k in range(1, 5)))
    samples, problems, _ = read(tmp_path, content)
    assert not samples
    (problem,) = (p for p in problems.problems if p.scope == "image")
    assert "4 of 4 outlines have no pixel in the image: are their coordinates" in problem.reason


def test_a_byte_order_mark(tmp_path):
    files = good_files()
    files["annotations/train.json"] = b"\xef\xbb\xbf" + json.dumps(good_content()).encode()
    samples, problems, _ = read_coco(write_source(tmp_path, files, "zip"))
    assert len(samples) == 2 and not problems


@pytest.mark.parametrize(
    "counts", [[0, -1, 193], [0, 2**32, 1], [0, float("inf")], 5, [2**70], None]
)
def test_runs_that_cannot_be(tmp_path, counts):
    content = one(
        annotation(1, 4, {"size": [12, 16], "counts": counts}), annotation(2, 4, [SQUARE])
    )
    samples, problems, _ = read(tmp_path, content)
    assert len(samples["a"].masks) == 1 and "RLE" in problems.lines()


@pytest.mark.parametrize("depth", [300, 10_000])
@pytest.mark.parametrize("key", ["segmentation", "extra"])
def test_lists_in_lists(tmp_path, depth, key):
    text = json.dumps(one(annotation(1, 4, [SQUARE]), annotation(2, 4, [SQUARE]))).replace(
        '"area": 1', f'"area": 1, "{key}": ' + "[" * depth + "]" * depth, 1
    )
    files = {"images/a.png": png(NOISE), "b.png": png(NOISE), "c.json": text.encode()}
    from maskrcnnpp.errors import DataError

    source = write_source(tmp_path, files, "zip")
    try:
        samples, _, _ = read_coco(source, workers=2)
    except DataError as error:
        assert "cannot be read as a COCO" in str(error)
    else:
        assert len(samples["a"].masks) >= 1
