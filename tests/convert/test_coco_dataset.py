"""The COCO files: every number, and that they appear whole or not at all."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from pycocotools.coco import COCO

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.convert.summary import summary_table
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks.rle import encode_crop

# a 3x2 block at row 1, column 2, and one pixel in the last corner
BLOCK = encode_crop(np.ones((3, 2)), 1, 2, 5, 6)
PIXEL = encode_crop(np.ones((1, 1)), 4, 5, 5, 6)
# an L: the box is not full
CORNER = encode_crop(np.array([[1, 0, 0], [1, 1, 1]]), 0, 3, 5, 6)


def sample(name: str, *masks) -> Sample:
    return Sample(name, b"bytes of " + name.encode(), ".png", 5, 6, masks, (1,) * len(masks))


def write(output, splits, samples, **commit) -> None:
    with CocoDatasetWriter(output, info={"description": "test"}) as writer:
        for one in samples:
            writer.add(one)
        writer.commit(splits, **commit)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_every_number(tmp_path):
    splits = {"train": ["b", "a"], "val": ["c"]}
    write(tmp_path, splits, [sample("a", BLOCK, PIXEL), sample("b", CORNER), sample("c")])
    train = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    assert train == {
        "info": {"description": "test", "generator": "maskrcnnpp"},
        "licenses": [],
        "images": [
            {"id": 1, "file_name": "b.png", "height": 5, "width": 6},
            {"id": 2, "file_name": "a.png", "height": 5, "width": 6},
        ],
        "categories": [{"id": 1, "name": "nucleus"}],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "segmentation": rle,
                "bbox": box,
                "area": area,
                "iscrowd": 0,
            }
            for number, image, rle, box, area in [
                (1, 1, CORNER, [3, 0, 3, 2], 4),
                (2, 2, BLOCK, [2, 1, 2, 3], 6),
                (3, 2, PIXEL, [5, 4, 1, 1], 1),
            ]
        ],
    }
    val = json.loads((tmp_path / "annotations" / "instances_val.json").read_text())
    assert (len(val["images"]), val["annotations"]) == (1, [])
    assert (tmp_path / "images" / "a.png").read_bytes() == b"bytes of a"

    coco = COCO(tmp_path / "annotations" / "instances_train.json")
    expected = np.zeros((5, 6), int)
    expected[1:4, 2:4] = 1
    np.testing.assert_array_equal(coco.annToMask(coco.anns[2]), expected)


def test_a_rerun_replaces_the_former_result(tmp_path):
    write(tmp_path, {"train": ["a"], "val": ["b"]}, [sample("a"), sample("b")], left_out="x\n")
    assert (tmp_path / "annotations" / "left_out.txt").read_text() == "x\n"
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, {"train": ["c"]}, [sample("c", BLOCK), sample("unused")])
    assert set(files(tmp_path)) == {
        "images/c.png",
        "annotations/instances_train.json",
        "notes.txt",
    }


def test_the_same_samples_give_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        write(tmp_path / folder, {"train": ["a"]}, [sample("a", BLOCK)])
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError, OSError])
def test_an_interrupted_run_leaves_the_former_result(tmp_path, error):
    write(tmp_path, {"train": ["a"]}, [sample("a")])
    before = files(tmp_path)
    with pytest.raises(error):
        with CocoDatasetWriter(tmp_path, info={}) as writer:
            writer.add(sample("b"))
            raise error
    assert files(tmp_path) == before
    assert {p.name for p in tmp_path.iterdir()} == {"images", "annotations"}


def test_an_interrupted_first_run_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with CocoDatasetWriter(tmp_path / "new", info={}) as writer:
            writer.add(sample("a"))
            raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_while_folders_are_exchanged_undoes_it(tmp_path, monkeypatch, call, after):
    write(tmp_path, {"train": ["a"]}, [sample("a")])
    before = files(tmp_path)

    rename, calls = os.replace, []

    def interrupted(old, new):
        moves_folder = str(old).endswith(("images", "annotations"))
        calls.append(old) if moves_folder else None
        interrupt = moves_folder and len(calls) == call + 1
        if interrupt and not after:
            raise KeyboardInterrupt
        rename(old, new)
        if interrupt:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, {"train": ["b"]}, [sample("b")])
    assert files(tmp_path) == before


def test_two_images_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="two images"):
        write(tmp_path / "new", {"train": ["a"]}, [sample("a"), sample("a")])


def refuses_to_replace(output, name):
    before = files(output)
    with pytest.raises(DataError, match=f"{name}: .*name another --output"):
        write(output, {"train": ["b"]}, [sample("b")])
    assert files(output) == before


@pytest.mark.parametrize(
    "name",
    [
        "images/holiday.jpg",
        "images/.hidden.png",
        "images/more/a.png",
        "annotations/mine.json",
        "annotations/left_out.txt",
    ],
)
@pytest.mark.parametrize("former_result", [False, True])
def test_files_that_are_not_a_former_result_are_never_removed(tmp_path, name, former_result):
    if former_result:
        write(tmp_path, {"train": ["a"]}, [sample("a")])
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    if former_result and path.name == "left_out.txt":
        write(tmp_path, {"train": ["b"]}, [sample("b")])
        return
    refuses_to_replace(tmp_path, "images/more" if "more" in name else name)


@pytest.mark.parametrize(
    "text",
    [
        '{"info": {"description": "mine"}, "images": [{"file_name": "a.png"}]}',
        '{"info": {"generator": "another"}, "images": [{"file_name": "a.png"}]}',
        '{"info": {"generator": "maskrcnnpp"}}',
        '{"images": [{"file_name": "a.png"}]}',
        '[{"file_name": "a.png"}]',
        "{",
        "",
    ],
)
def test_annotations_of_another_origin_are_never_removed(tmp_path, text):
    write(tmp_path, {"train": ["a"]}, [sample("a")])
    (tmp_path / "annotations/instances_mine.json").write_text(text)
    refuses_to_replace(tmp_path, "instances_mine.json")


def test_a_file_in_the_place_of_a_folder_is_never_removed(tmp_path):
    (tmp_path / "images").write_text("mine")
    with pytest.raises(DataError, match="images: .*name another --output"):
        write(tmp_path, {"train": ["a"]}, [sample("a")])
    assert (tmp_path / "images").read_text() == "mine"


def test_what_a_file_manager_left_hinders_no_rerun(tmp_path):
    write(tmp_path, {"train": ["a"]}, [sample("a")])
    (tmp_path / "images/.DS_Store").write_text("")
    write(tmp_path, {"train": ["b"]}, [sample("b")])
    assert set(files(tmp_path)) == {"images/b.png", "annotations/instances_train.json"}


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: cannot be written"):
        write(tmp_path / "file", {"train": ["a"]}, [sample("a")])


def test_masks_and_categories_must_match():
    with pytest.raises(ValueError, match="2 masks but 1"):
        Sample("a", b"", ".png", 5, 6, (BLOCK, PIXEL), (1,))


def test_summary_table(tmp_path):
    with CocoDatasetWriter(tmp_path / "new", info={}) as writer:
        for one in (sample("a", BLOCK, PIXEL), sample("b", CORNER), sample("c")):
            writer.add(one)
    table = summary_table(writer.records, {"train": ["a", "b"], "val": ["c"]})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [row[:5] for row in rows[2:]] == [
        ["train", "2", "3", "1.5", "2"],
        ["val", "1", "0", "0", "0"],
        ["all", "3", "3", "1", "2"],
    ]
    # areas 1, 4, 6; diameter of the disk of area 4
    assert rows[2][6] == "1 / 4 / 6" and rows[2][5].split(" / ")[1] == "2.3"
