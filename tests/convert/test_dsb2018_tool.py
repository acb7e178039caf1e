"""The tool that prepares DSB2018, from its arguments to the files it writes."""

from __future__ import annotations

import json
import os

import pytest
from dsb2018_source import NOISE, good_files, mask, png, write_source
from pycocotools.coco import COCO

from maskrcnnpp import cli
from maskrcnnpp.commands import prepare_dsb2018


def run_tool(capsys, *argv) -> tuple[int, str, str]:
    status = 0
    try:
        cli.main(["prepare", "dsb2018", *map(str, argv)])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def prepare(tmp_path, capsys):
    """Run the tool with lists of its own: a, b, c train; d val; e, f test."""
    splits = tmp_path / "splits"
    splits.mkdir()
    for split, names in {"train": "abc", "val": "d", "test": "ef"}.items():
        (splits / f"{split}.txt").write_text("\n".join(names))

    def run(source, *argv):
        arguments = ("--source", source, "--output", tmp_path / "out", "--split-dir", splits)
        return run_tool(capsys, *arguments, *argv)

    return run


def no_source(tmp_path):
    return tmp_path / "nowhere.zip"


def truncated_zip(tmp_path):
    source = write_source(tmp_path, good_files(), "zip")
    source.write_bytes(source.read_bytes()[:-200])
    return source


def text_file(tmp_path):
    (tmp_path / "source.zip").write_text("hello")
    return tmp_path / "source.zip"


def empty_folder(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def other_layout(tmp_path):
    return write_source(tmp_path, {"images/a.png": png(NOISE), "a/b/c/images/d.png": b""}, "zip")


@pytest.mark.parametrize("skip_bad", [[], ["--skip-bad"]])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_source, "does not exist"),
        (truncated_zip, "not a zip archive, or cut short"),
        (text_file, "not a zip archive, or cut short"),
        (empty_folder, "holds no <id>/images"),
        (other_layout, "holds no <id>/images"),
    ],
)
def test_a_source_of_no_use(tmp_path, capsys, make, message, skip_bad):
    source = make(tmp_path)
    status, _, err = run_tool(capsys, "--source", source, "--output", tmp_path / "out", *skip_bad)
    assert status == 2
    assert err.startswith(f"error: {source}: ") and message in err
    assert not (tmp_path / "out").exists()


def test_tool(tmp_path, prepare, kind):
    source = write_source(tmp_path, good_files("abcdefxy"), kind)
    status, out, _ = prepare(source)
    assert status == 0
    assert "2 images are in no split list" in out
    assert "maskrcnnpp train" in out
    written = {p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/*/*")}
    assert written == {f"images/{name}.png" for name in "abcdef"} | {
        f"annotations/instances_{split}.json" for split in ("train", "val", "test")
    }
    assert (tmp_path / "out/images/a.png").read_bytes() == good_files()["a/images/a.png"]
    train = COCO(tmp_path / "out/annotations/instances_train.json")
    assert [image["file_name"] for image in train.dataset["images"]] == ["a.png", "b.png", "c.png"]
    assert [ann["bbox"] for ann in train.loadAnns([1, 2])] == [[2, 1, 4, 3], [14, 10, 2, 2]]
    assert [ann["area"] for ann in train.loadAnns([1, 2])] == [12, 4]
    assert len(train.anns) == 6


def test_tool_reports_all_problems_and_writes_nothing(tmp_path, prepare):
    files = good_files()
    files["a/masks/2.png"] = files["a/masks/2.png"][:-20]
    files["b/masks/2.png"] = mask(0, 0, 0, 0)
    del files["c/images/c.png"]
    source = write_source(tmp_path, files, "zip")
    status, out, err = prepare(source)
    assert status == 2 and "3 problems" in err
    for text in ("a/masks/2.png: damaged", "b/masks/2.png: the mask is empty", "c: missing image"):
        assert text in err
    assert not (tmp_path / "out").exists()

    status, out, _ = prepare(source, "--skip-bad")
    assert status == 0
    assert "left out: 2 images, 1 object\n" in out
    assert (tmp_path / "out/annotations/left_out.txt").read_text().splitlines() == [
        "image\tc\tmissing image: no PNG file in images/",
        "image\ta/masks/2.png\tdamaged: cut short",
        "object\tb/masks/2.png\tthe mask is empty",
    ]
    train = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [image["file_name"] for image in train["images"]] == ["b.png"]
    assert len(train["annotations"]) == 1


def test_nothing_left(tmp_path, prepare):
    files = {name: data for name, data in good_files().items() if "/masks/" not in name}
    status, _, err = prepare(write_source(tmp_path, files, "zip"), "--skip-bad")
    assert status == 2 and "no image is left" in err
    assert not (tmp_path / "out").exists()


def test_a_split_with_nothing_left(tmp_path, prepare):
    files = {**good_files(), "d/images/d.png": b"text"}
    status, _, err = prepare(write_source(tmp_path, files, "zip"), "--skip-bad")
    assert status == 2 and "no image is left for val; mend" in err
    assert "d/images/d.png: not a PNG file" in err
    assert not (tmp_path / "out").exists()


def test_a_list_names_what_the_source_lacks(tmp_path, prepare):
    source = write_source(tmp_path, good_files("acde"), "zip")
    status, _, err = prepare(source)
    assert status == 2 and "lacks 2 of the images" in err and "b, f" in err
    assert "--skip-bad" in err and "--make-splits" in err
    status, out, _ = prepare(source, "--skip-bad")
    assert status == 0 and "left out: 2 images" in out


def test_make_splits(tmp_path, capsys):
    source = write_source(tmp_path, good_files("abcdefghij"), "zip")
    argv = ("--source", source, "--output", tmp_path / "out", "--split-dir", tmp_path / "new")
    assert run_tool(capsys, *argv, "--make-splits", "--seed", 3)[0] == 0
    lists = {path.name: path.read_text().split() for path in (tmp_path / "new").iterdir()}
    assert {name: len(ids) for name, ids in lists.items()} == {
        "train.txt": 5,
        "val.txt": 2,
        "test.txt": 3,
    }
    first = (tmp_path / "out/annotations/instances_val.json").read_bytes()
    assert run_tool(capsys, *argv)[0] == 0
    assert (tmp_path / "out/annotations/instances_val.json").read_bytes() == first


@pytest.mark.parametrize(
    "argv", [[], ["--source", "x", "--make-splits"], ["--source", "x", "--seed", "1"]]
)
def test_impossible_arguments(capsys, argv):
    status, _, err = run_tool(capsys, *argv)
    assert status == 2 and "usage:" in err


def test_download(tmp_path, capsys, monkeypatch):
    (tmp_path / "web").mkdir()
    there = write_source(tmp_path / "web", good_files(), "zip")
    monkeypatch.setattr(prepare_dsb2018, "URL", there.as_uri())
    target = tmp_path / "data" / "stage1_train.zip"
    argv = ["--download", "--source", target, "--output", tmp_path / "out"]
    argv += ["--make-splits", "--split-dir", tmp_path / "splits"]
    assert run_tool(capsys, *argv)[0] == 0
    assert target.read_bytes() == there.read_bytes()
    there.unlink()
    assert run_tool(capsys, *argv)[0] == 0  # what is there is not fetched again
    target.unlink()
    status, _, err = run_tool(capsys, *argv)
    assert status == 2 and "online" in err and "--source" in err
    assert not list((tmp_path / "data").iterdir())


REAL = os.environ.get("MASKRCNNPP_DSB2018")


@pytest.mark.skipif(not REAL, reason="MASKRCNNPP_DSB2018 does not name a stage1_train.zip")
def test_the_real_archive(tmp_path, capsys):
    status, out, _ = run_tool(capsys, "--source", REAL, "--output", tmp_path / "out")
    assert status == 0
    counts = {}
    for split in ("train", "val", "test"):
        coco = COCO(tmp_path / "out" / "annotations" / f"instances_{split}.json")
        counts[split] = len(coco.imgs)
        counts["objects"] = counts.get("objects", 0) + len(coco.anns)
        for annotation in coco.anns.values():
            rle = annotation["segmentation"]
            image = coco.imgs[annotation["image_id"]]
            assert rle["size"] == [image["height"], image["width"]]
            assert annotation["area"] > 0
    assert counts == {"train": 332, "val": 133, "test": 199, "objects": 28986}
    assert len(list((tmp_path / "out" / "images").iterdir())) == 664
