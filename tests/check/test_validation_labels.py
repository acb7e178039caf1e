"""`maskrcnnpp check` and `maskrcnnpp inspect` on data sets of label images."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnnpp.check.inspection.reading import CocoSet
from maskrcnnpp.check.validation.checks import validate
from maskrcnnpp.check.validation.fix import repair
from maskrcnnpp.errors import DataError


@pytest.fixture
def check(label_set):
    """``check(change)``: findings after ``change(truth, labels)``, a dict and a folder."""
    file = Path(label_set)
    folder = file.parents[1]

    def found(change=lambda truth, labels: None):
        truth = json.loads(file.read_text())
        change(truth, folder / "labels")
        findings = validate(truth, folder / "images", label_root=file.parent)
        return [(f.kind, f.severity, f.item, f.reason) for f in findings]

    return found


def test_nothing_is_wrong_with_good_label_images(check):
    assert check() == []


def _write(labels):
    return lambda truth, folder: Image.fromarray(labels).save(folder / "1.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_write(np.full((64, 64), 7, np.uint8)), "has the labels 7"),
        (_write(np.zeros((64, 63), np.uint8)), "has 64x63 pixels"),
        (_write(np.zeros((64, 64, 3), np.uint8)), "of mode RGB"),
        (lambda truth, folder: (folder / "1.png").unlink(), "cannot be read as a label image"),
        (lambda truth, folder: truth["images"][1].pop("sem_seg_file_name"), "which others have"),
        (lambda truth, folder: truth["images"][1].update(sem_seg_file_name=3), "is not text"),
    ],
)
def test_a_bad_label_image_is_told_by_its_image(check, change, words):
    ((kind, severity, item, reason),) = check(change)
    assert (kind, severity, item) == ("label images", "error", "image 1") and words in reason


def test_labels_are_the_ids_of_the_categories(check):
    def change(truth, folder):
        truth["categories"][0]["id"] = 4

    assert "error" in {severity for kind, severity, *_ in check(change) if kind == "categories"}


def test_a_class_without_pixels_is_a_warning(check):
    def change(truth, folder):
        truth["categories"].append({"id": 2, "name": "circle"})

    assert check(change) == [("label images", "warning", "category 2", "no pixel is of it")]


def test_there_is_no_repair_and_no_page_of_objects(label_set):
    with pytest.raises(DataError, match="label images, which only who made them can mend"):
        repair(json.loads(Path(label_set).read_text()), None)
    with pytest.raises(DataError, match="the page is of objects"):
        CocoSet(label_set, Path(label_set).parents[1] / "images")
