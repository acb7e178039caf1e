"""`maskrcnnpp check`, from its arguments to its exit status and files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from maskrcnnpp import cli
from maskrcnnpp.check.validation.checks import KINDS
from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.sample import Sample
from maskrcnnpp.images import encode_image
from maskrcnnpp.masks.rle import encode_crop


@pytest.fixture
def dataset(tmp_path):
    """As this project writes it: three images of two objects."""
    folder = tmp_path / "set"
    masks = tuple(encode_crop(np.ones((4, 5)), 2, left, 20, 30) for left in (3, 12))
    image, suffix = encode_image(np.zeros((20, 30), np.uint8))
    with CocoDatasetWriter(folder, info={}) as writer:
        for name in "abc":
            writer.add(Sample(name, image, suffix, 20, 30, masks, (1, 1)))
        writer.commit({"train": list("abc")})
    return folder


@pytest.fixture
def file(dataset):
    return dataset / "annotations" / "instances_train.json"


@pytest.fixture
def run(capsys):
    def main(*argv):
        try:
            status = cli.main(["check", *map(str, argv)])
        except SystemExit as error:
            status = error.code
        out, err = capsys.readouterr()
        return status, out, err

    return main


def change(file, **members):
    """Change members of the first annotation."""
    truth = json.loads(file.read_text())
    truth["annotations"][0] |= members
    file.write_text(json.dumps(truth))


def test_a_data_set_of_this_project_is_without_fault(dataset, file, run):
    status, out, err = run(file, "--images", dataset / "images")
    assert (status, err) == (0, "")
    assert out == f"{file}: 3 images, 6 annotations, 1 category\nnothing is wrong\n"


def test_without_images_it_says_that_files_are_not_looked_at(file, run):
    status, out, _ = run(file)
    assert status == 0
    assert "name their folder with --images" in out


def test_warnings_alone_are_no_failure(file, run):
    change(file, area=25)
    status, out, _ = run(file)
    assert status == 0
    assert "| areas  |          |          1 |" in out
    assert "  warning: a.png: annotation 1: 25 is not that of the mask, 20 pixels" in out


def test_errors_are_told_by_kind_and_written_as_json(dataset, file, run, tmp_path):
    change(file, bbox=[3, 2, 50, 4], area=None)
    (dataset / "images" / "b.png").unlink()
    Image.new("L", (31, 20)).save(dataset / "images" / "c.png")
    report = tmp_path / "deep" / "report.json"
    status, out, _ = run(file, "--images", dataset / "images", "--report", report)
    assert status == 1
    reasons = [
        "error: b.png: image 2: its file: there is no such file in",
        "error: c.png: image 3: 30x20 pixels, but its file has 31x20",
        "error: a.png: annotation 1: [3, 2, 50, 4] reaches outside the image of 30x20 pixels",
        "error: a.png: annotation 1: no 'area'",
    ]
    assert [out.find(reason) >= 0 for reason in reasons] == [True] * 4
    written = json.loads(report.read_text())
    assert (written["errors"], written["warnings"]) == (4, 0)
    assert [f["kind"] for f in written["findings"]] == ["sizes", "sizes", "boxes", "areas"]
    assert written["findings"][2] == {
        "kind": "boxes",
        "severity": "error",
        "image": "a.png",
        "item": "annotation 1",
        "reason": "[3, 2, 50, 4] reaches outside the image of 30x20 pixels",
    }


def test_no_more_than_twenty_findings_of_a_kind_are_shown(file, run):
    truth = json.loads(file.read_text())
    truth["annotations"] = [{**truth["annotations"][0], "id": n + 1} for n in range(23)]
    file.write_text(json.dumps(truth))
    status, out, _ = run(file)
    assert status == 1
    assert out.count("has the mask of annotation 1\n") == 20
    assert "... and 2 more; --report writes all" in out


def test_images_of_more_objects_than_are_counted(file, run):
    status, out, _ = run(file, "--max-dets", 1)
    assert status == 0
    assert "c.png: image 3: 2 objects, and the evaluator counts 1 an image" in out
    status, _, err = run(file, "--max-dets", 0)
    assert status == 2
    assert "below 1" in err


def test_the_repaired_copy_decides_the_status_and_the_file_stays(dataset, file, run, tmp_path):
    change(file, bbox=[3, 2, 50, 4], segmentation={"size": [1, 1], "counts": "0"})
    (dataset / "images" / "b.png").unlink()
    before = file.read_bytes()
    fixed, report = tmp_path / "fixed.json", tmp_path / "report.json"
    argv = file, "--images", dataset / "images", "--fix", fixed, "--report", report
    status, out, _ = run(*argv)
    assert status == 0
    assert file.read_bytes() == before
    assert "left out: 4\n" in out
    assert "  a.png: annotation 1: RLE of 1x1 pixels for an image of 30x20\n" in out
    assert f"{fixed}: 2 images, 3 annotations, 1 category\nnothing is wrong\n" in out
    assert [image["file_name"] for image in json.loads(fixed.read_text())["images"]] == [
        "a.png", "c.png",
    ]  # fmt: skip
    written = json.loads(report.read_text())
    assert len(written["repairs"]) == 4
    assert written["repaired"]["errors"] == 0
    assert written["errors"] == 3
    assert run(fixed, "--images", dataset / "images")[0] == 0


def test_what_cannot_be_repaired_is_told_and_not_written(file, run, tmp_path):
    truth = json.loads(file.read_text())
    truth["categories"] = []
    file.write_text(json.dumps(truth))
    fixed = tmp_path / "fixed.json"
    status, out, _ = run(file, "--fix", fixed)
    assert status == 1
    assert f"{file} cannot be repaired: no category would be left" in out
    assert not fixed.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON, or cut short"),
        (b'{"images": [', "is not JSON, or cut short"),
        (b"\xff\xfe\x00", "is not JSON, or cut short"),
        (b"[" * 100_000, "too deep"),
        (b'{"images": ' + b"9" * 5000 + b"}", "is not JSON, or cut short"),
    ],
)
def test_what_is_no_json_cannot_be_read(file, run, content, reason):
    file.write_bytes(content)
    status, out, err = run(file)
    assert (status, out) == (2, "")
    assert f"error: {file}: " in err
    assert reason in err


def test_other_json_is_an_error_of_its_structure(file, run):
    file.write_text("[1, 2]")
    status, out, _ = run(file)
    assert status == 1
    assert "holds [1, 2], where an object with keys is due" in out


def test_paths_that_are_not_there(file, run, tmp_path):
    status, _, err = run(tmp_path / "none.json")
    assert (status, "none.json: cannot be read (No such file" in err) == (2, True)
    status, _, err = run(file, "--images", tmp_path / "none")
    assert (status, "none: is not a folder" in err) == (2, True)
    status, _, err = run(file, "--fix", tmp_path)
    assert (status, "is a folder; name a file for --fix" in err) == (2, True)
    (tmp_path / "text").write_text("")
    status, _, err = run(file, "--fix", tmp_path / "text" / "fixed.json")
    assert (status, "fixed.json cannot be written" in err) == (2, True)


@pytest.mark.parametrize("option", ["--fix", "--report"])
@pytest.mark.parametrize("way", ["itself", "relative", "symlink", "hard link"])
def test_the_file_is_never_overwritten(file, run, tmp_path, option, way):
    before = file.read_bytes()
    other = file
    if way == "relative":
        other = file.parent / ".." / "annotations" / file.name
    elif way != "itself":
        other = tmp_path / "link.json"
        (os.symlink if way == "symlink" else os.link)(file, other)
    status, _, err = run(file, option, other)
    assert status == 2
    assert f"{other}: is the file that is checked; name another one for {option}" in err
    assert file.read_bytes() == before


def test_fix_and_report_are_two_files(file, run, tmp_path):
    status, _, err = run(file, "--fix", tmp_path / "x.json", "--report", tmp_path / "x.json")
    assert (status, "--fix and --report name the same file" in err) == (2, True)
    assert not (tmp_path / "x.json").exists()


def test_names_cannot_write_to_the_terminal(file, run):
    truth = json.loads(file.read_text())
    truth["images"][0]["file_name"] = "\x1b[2J\n\ud800é.png"
    truth["annotations"][0]["bbox"] = None
    file.write_text(json.dumps(truth))
    status, out, _ = run(file)
    assert status == 1
    assert "\x1b" not in out
    assert "error: \\x1b[2J \\ud800é.png: annotation 1: no 'bbox'" in out


def test_help_lists_the_kinds(run):
    status, out, _ = run("--help")
    assert status == 0
    assert all(f"  {kind}" in out for kind in KINDS)
