"""Findings of COCO annotation files, and repaired copies."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage

from maskrcnnpp.check.validation.checks import KINDS, validate
from maskrcnnpp.check.validation.fix import repair
from maskrcnnpp.check.validation.mend import clip
from maskrcnnpp.errors import DataError
from maskrcnnpp.masks import measure as validation_masks
from maskrcnnpp.masks import rings as validation_rings
from maskrcnnpp.masks.measure import measure
from maskrcnnpp.masks.rle import encode_crop

SQUARE = [2.0, 3.0, 8.0, 3.0, 8.0, 9.0, 2.0, 9.0]


def annotation(number, image, segmentation, box, area, category=1):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "bbox": box,
        "area": area,
        "iscrowd": 0,
    }


def good() -> dict:
    """Two images; an RLE, a polygon, an uncompressed RLE, and an object of two polygons."""
    rle = encode_crop(np.ones((4, 5)), 2, 3, 20, 30)
    counts = [0, 2, 18, 2, 20 * 30 - 22]
    pair = [SQUARE, [12.0, 12, 16, 12, 16, 16, 12, 16]]
    truth = {
        "info": {},
        "images": [
            {"id": 1, "file_name": "a b.png", "height": 20, "width": 30},
            {"id": 2, "file_name": "é.tif", "height": 25, "width": 18},
        ],
        "categories": [{"id": 1, "name": "nucleus"}, {"id": 2, "name": "cell"}],
        "annotations": [
            annotation(1, 1, rle, [3.0, 2.0, 5.0, 4.0], 20),
            annotation(2, 1, {"size": [20, 30], "counts": counts}, [0, 0, 2, 2], 4, 2),
            annotation(3, 2, [SQUARE], [2, 3, 6, 6], 36),
            annotation(4, 2, pair, [2, 3, 14, 13], 52, 2),
        ],
    }
    return copy.deepcopy(truth)  # tests change it, with all that is in it


@pytest.fixture
def root(tmp_path) -> Path:
    Image.new("L", (30, 20)).save(tmp_path / "a b.png")
    tifffile.imwrite(tmp_path / "é.tif", np.zeros((25, 18), np.uint16))
    return tmp_path


def found(truth, root=None, **options) -> list[tuple[str, str, str, str]]:
    """As (kind, severity, item, reason)."""
    findings = validate(truth, root, **options)
    return [(f.kind, f.severity, f.item, f.reason) for f in findings]


def errors(truth, root=None) -> list:
    return [finding for finding in validate(truth, root) if finding.severity == "error"]


def test_nothing_is_wrong_with_a_good_file(root):
    truth = good()
    before = copy.deepcopy(truth)
    assert validate(truth, root) == []
    assert truth == before
    fixed, repairs = repair(truth, root)
    assert repairs == []
    assert fixed == before
    assert truth == before


def setting(*path_and_value):
    """A change of one member of the good file."""

    def change(truth):
        *path, last, value = path_and_value
        for key in path:
            truth = truth[key]
        if value is KeyError:
            del truth[last]
        else:
            truth[last] = value

    return change


def segmentation(value, number=2):
    return setting("annotations", number, "segmentation", value)


def rle(counts, size=(20, 30)):
    return segmentation({"size": list(size), "counts": counts}, 0)


HUGE = 10**400
CASES = [
    # change of the good file; kind, severity, item, what the reason holds
    (setting("images", 3), "structure", "error", "images", "no list: 3"),
    (setting("images", KeyError), "structure", "error", "images", "missing"),
    (setting("images", []), "structure", "error", "images", "no image"),
    (setting("annotations", KeyError), "structure", "warning", "annotations", "missing"),
    (setting("annotations", {}), "structure", "error", "annotations", "no list"),
    (setting("annotations", 1, 7), "structure", "error", "entry 2 of annotations", "7"),
    (setting("images", 0, "id", KeyError), "ids", "error", "image no. 1", "no id"),
    (setting("images", 0, "id", "1"), "ids", "error", "image no. 1", "'1'; an integer"),
    (setting("images", 0, "id", True), "ids", "error", "image no. 1", "True; an integer"),
    (setting("images", 0, "id", 1.0), "ids", "error", "image no. 1", "1.0; an integer"),
    (setting("images", 0, "id", HUGE), "ids", "error", "image no. 1", "an integer"),
    (setting("images", 1, "id", 1), "ids", "error", "image 1", "of another image"),
    (setting("annotations", 1, "id", 1), "ids", "error", "annotation 1 (no. 2)", "another a"),
    (setting("annotations", 1, "id", None), "ids", "error", "annotation no. 2", "no id"),
    (setting("annotations", 1, "id", 0), "ids", "warning", "annotation 0", "begin with 1"),
    (setting("annotations", 1, "image_id", 9), "ids", "error", "annotation 2", "image 9, not"),
    (setting("annotations", 1, "image_id", [1]), "ids", "error", "annotation 2", "image [1], not"),
    (setting("annotations", 1, "category_id", 9), "ids", "error", "annotation 2", "category 9"),
    (setting("annotations", 1, "category_id", KeyError), "ids", "error", "annotation 2", "no cat"),
    (setting("images", 0, "height", KeyError), "sizes", "error", "image 1", "no height"),
    (setting("images", 0, "width", 0), "sizes", "error", "image 1", "width 0"),
    (setting("images", 0, "width", -3), "sizes", "error", "image 1", "width -3"),
    (setting("images", 0, "width", 30.5), "sizes", "error", "image 1", "width 30.5"),
    (setting("images", 0, "width", 2**31), "sizes", "error", "image 1", "more than masks"),
    (setting("images", 1, "width", 19), "sizes", "error", "image 2", "19x25 pixels, but its file"),
    (setting("images", 0, "file_name", KeyError), "sizes", "error", "image 1", "no file_name"),
    (setting("images", 0, "file_name", 5), "sizes", "error", "image 1", "not text"),
    (setting("images", 0, "file_name", "x.png"), "sizes", "error", "image 1", "no such file"),
    (setting("images", 0, "file_name", "../a b.png"), "sizes", "error", "image 1", "leads out"),
    (setting("images", 0, "file_name", "/etc/passwd"), "sizes", "error", "image 1", "leads out"),
    (setting("images", 0, "file_name", "a\0"), "sizes", "error", "image 1", "leads out"),
    (setting("images", 0, "file_name", "a" * 5000), "sizes", "error", "image 1", "its file"),
    (setting("images", 0, "file_name", "\ud800.png"), "sizes", "error", "image 1", "its file"),
    (setting("images", 1, "file_name", "a b.png"), "sizes", "error", "image 2", "another image"),
    (setting("annotations", 0, "bbox", KeyError), "boxes", "error", "annotation 1", "no 'bbox'"),
    (setting("annotations", 0, "bbox", [1, 2, 3]), "boxes", "error", "annotation 1", "four"),
    (setting("annotations", 0, "bbox", "1234"), "boxes", "error", "annotation 1", "four"),
    (setting("annotations", 0, "bbox", [3, 2, math.nan, 4]), "boxes", "error", "annotation 1", "4"),
    (setting("annotations", 0, "bbox", [3, 2, HUGE, 4]), "boxes", "error", "annotation 1", "four"),
    (setting("annotations", 0, "bbox", [3, 2, 0, 4]), "boxes", "error", "annotation 1", "empty"),
    (setting("annotations", 0, "bbox", [-3, 2, 9, 4]), "boxes", "error", "annotation 1", "outside"),
    (setting("annotations", 0, "bbox", [3, 2, 28, 4]), "boxes", "error", "annotation 1", "30x20"),
    (setting("annotations", 0, "bbox", [3, 2, 7, 4]), "boxes", "warning", "annotation 1", "[3, 2"),
    (setting("annotations", 0, "area", KeyError), "areas", "error", "annotation 1", "no 'area'"),
    (setting("annotations", 0, "area", "20"), "areas", "error", "annotation 1", "above 0"),
    (setting("annotations", 0, "area", -20), "areas", "error", "annotation 1", "above 0"),
    (setting("annotations", 0, "area", 20.3), "areas", "warning", "annotation 1", "20 pixels"),
    (segmentation(KeyError), "segmentations", "error", "annotation 3", "missing"),
    (segmentation([]), "segmentations", "error", "annotation 3", "empty"),
    (segmentation({}), "segmentations", "error", "annotation 3", "empty"),
    (segmentation("mask"), "segmentations", "error", "annotation 3", "of type str"),
    (segmentation([[]]), "segmentations", "error", "annotation 3", "0 points"),
    (segmentation(SQUARE), "segmentations", "error", "annotation 3", "list of polygons"),
    (segmentation([SQUARE[:-1]]), "segmentations", "error", "annotation 3", "odd number"),
    (segmentation([SQUARE[:4]]), "segmentations", "error", "annotation 3", "2 points"),
    (segmentation([SQUARE[:4] + SQUARE[:2]]), "segmentations", "error", "annotation 3", "2 points"),
    (segmentation([SQUARE, [1, 2]]), "segmentations", "error", "annotation 3", "polygon 2 of 2"),
    (segmentation([[1, 2, 3, "4", 5, 6]]), "segmentations", "error", "annotation 3", "no list of"),
    (segmentation([[1, 2, 3, True, 5, 6]]), "segmentations", "error", "annotation 3", "no list of"),
    (segmentation([SQUARE[:-1] + [math.inf]]), "segmentations", "error", "annotation 3", "finite"),
    (segmentation([SQUARE[:-1] + [HUGE]]), "segmentations", "error", "annotation 3", "finite"),
    (segmentation([[x + 20 for x in SQUARE]]), "segmentations", "error", "annotation 3", "wholly"),
    (segmentation([[x * 1e9 for x in SQUARE]]), "segmentations", "error", "annotation 3", "wholly"),
    (segmentation([[5, 5, 1e9, 5, 5, 9]]), "segmentations", "error", "annotation 3", "too long"),
    (segmentation([[2.1, 2, 2.2, 2, 2.1, 2.1]]), "segmentations", "error", "annotation 3", "no pi"),
    (segmentation([[2, 3, 8, 9, 8, 3, 2, 9]]), "segmentations", "warning", "annotation 3", "cross"),
    (rle("abc", (30, 20)), "segmentations", "error", "annotation 1", "20x30 pixels for an image"),
    (rle("abc", (20,)), "segmentations", "error", "annotation 1", "without its size"),
    (rle("abc", (20, HUGE)), "segmentations", "error", "annotation 1", "impossibly"),
    (rle(""), "segmentations", "error", "annotation 1", "without a run"),
    (rle([]), "segmentations", "error", "annotation 1", "without a run"),
    (rle(7), "segmentations", "error", "annotation 1", "without counts"),
    (rle("é"), "segmentations", "error", "annotation 1", "characters"),
    (rle("1 2"), "segmentations", "error", "annotation 1", "broken"),
    (rle("oooo"), "segmentations", "error", "annotation 1", "broken"),
    (rle("o" * 50 + "0"), "segmentations", "error", "annotation 1", "broken"),
    (rle([600]), "segmentations", "error", "annotation 1", "without a pixel"),
    (rle([5, 5]), "segmentations", "error", "annotation 1", "590 pixels before"),
    (rle([5, 700]), "segmentations", "error", "annotation 1", "105 pixels past"),
    (rle([5, -5, 600]), "segmentations", "error", "annotation 1", "below 0"),
    (rle([5, 5.5, 600]), "segmentations", "error", "annotation 1", "no whole numbers"),
    (rle([HUGE]), "segmentations", "error", "annotation 1", "broken"),
    (setting("annotations", 0, "iscrowd", 2), "iscrowd", "error", "annotation 1", "2; 0 or 1"),
    (setting("annotations", 0, "iscrowd", False), "iscrowd", "error", "annotation 1", "0 or 1"),
    (setting("annotations", 0, "iscrowd", KeyError), "iscrowd", "warning", "annotation 1", "miss"),
    (setting("categories", []), "categories", "error", "categories", "none"),
    (setting("categories", 1, "id", 1), "categories", "error", "category 1", "another category"),
    (setting("categories", 1, "id", "2"), "categories", "error", "category no. 2", "an integer"),
    (setting("categories", 1, "name", "nucleus"), "categories", "error", "category 2", "another"),
    (setting("categories", 1, "name", KeyError), "categories", "error", "category 2", "no name"),
    (setting("categories", 1, "id", 7), "categories", "warning", "categories", "not 1 to 2"),
    (setting("annotations", 3, "image_id", KeyError), "ids", "error", "annotation 4", "no image_"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}-{case[4]}")
def test_what_is_wrong_is_found_and_can_be_repaired(root, case):
    change, kind, severity, item, reason = case
    truth = good()
    change(truth)
    hits = [f for f in found(truth, root) if f[0] == kind and f[2] == item and reason in f[3]]
    assert [hit[1] for hit in hits] == [severity]
    try:
        fixed, repairs = repair(truth, root)
    except DataError as error:
        assert "cannot be repaired" in str(error)
        assert kind in ("structure", "categories")
    else:
        assert errors(fixed, root) == []
        assert repairs or severity == "warning"
        json.dumps(fixed)


def test_the_finding_names_the_image_file(root):
    truth = good()
    truth["annotations"][2]["bbox"] = None
    assert [(f.image, f.item) for f in validate(truth, root)] == [("é.tif", "annotation 3")]


@pytest.mark.parametrize("content", [None, [], "text", 3, math.nan, True, {}])
def test_no_coco_object_is_an_error(content):
    assert {f.severity for f in validate(content, None)} >= {"error"}
    with pytest.raises(DataError, match="cannot be repaired"):
        repair(content, None)


def test_unused_categories_and_images_without_objects_are_warnings():
    truth = good()
    truth["annotations"] = truth["annotations"][:1]
    assert [f[:3] for f in found(truth)] == [
        ("categories", "warning", "category 2"),
        ("empty images", "warning", "image 2"),
    ]


def test_more_objects_than_are_counted_is_a_warning():
    truth = good()
    assert found(truth, max_dets=2) == []
    truth["annotations"].append(annotation(5, 2, [[1, 1, 3, 1, 3, 3, 1, 3]], [1, 1, 2, 2], 4))
    (warning,) = validate(truth, None, max_dets=2)
    assert warning[:4] == ("many objects", "warning", "é.tif", "image 2")
    assert "3 objects" in warning.reason and "counts 2" in warning.reason


@pytest.mark.parametrize("same_id", [True, False])
def test_the_same_mask_is_a_duplicate_however_it_is_written(same_id):
    truth = good()
    mask = np.zeros((25, 18), np.uint8, order="F")
    mask[3:9, 2:8] = 1
    runs = [1, 0, 52]  # 53 background pixels, split in two
    runs += [6, 19, 6, 19, 6, 19, 6, 19, 6, 19, 6]
    runs += [25 * 18 - sum(runs), 0]
    for written in (
        {"size": [25, 18], "counts": coco_mask.encode(mask)["counts"].decode()},
        {"size": [25, 18], "counts": runs},
        [SQUARE],
    ):
        number, item = (3, "annotation 3 (no. 5)") if same_id else (9, "annotation 9")
        more = annotation(number, 2, written, [2, 3, 6, 6], 36)
        several = {**truth, "annotations": [*truth["annotations"], more]}
        duplicates = [f for f in found(several) if f[0] == "duplicates"]
        assert [f[2:] for f in duplicates] == [(item, "has the mask of annotation 3")]
        fixed, _ = repair(several, None)
        assert fixed["annotations"] == truth["annotations"]
        for other in ({"image_id": 1}, {"category_id": 2}):
            truth_2 = {**truth, "annotations": [*truth["annotations"], {**more, **other}]}
            assert not [f for f in found(truth_2) if f[0] == "duplicates"]  # fmt: skip


def test_crossings_are_left_out_without_shapely(monkeypatch):
    truth = good()
    truth["annotations"][2]["segmentation"] = [[2, 3, 8, 9, 8, 3, 2, 9]]
    assert "segmentations" in {f[0] for f in found(truth)}
    monkeypatch.setattr(validation_rings, "shapely", None)
    assert "segmentations" not in {f[0] for f in found(truth)}


def test_sizes_are_read_from_headers_as_detectron2_turns_them(root):
    truth = good()
    truth["images"][0]["file_name"] = "turned.jpg"
    image, exif = Image.new("L", (20, 30)), Image.Exif()
    exif[274] = 6
    image.save(root / "turned.jpg", exif=exif)
    assert validate(truth, root) == []
    # only the header is there
    content = (root / "turned.jpg").read_bytes()
    (root / "turned.jpg").write_bytes(content[: content.index(b"\xff\xda") + 14])
    assert validate(truth, root) == []
    (root / "turned.jpg").write_bytes(content[:10])
    (finding,) = validate(truth, root)
    assert finding[:4] == ("sizes", "error", "turned.jpg", "image 1")
    assert "cannot be read as an image" in finding.reason


@pytest.mark.parametrize(
    ("shape", "axes"), [((25, 18, 3), "YXS"), ((4, 25, 18), "CYX"), ((1, 25, 18), "ZYX")]
)
def test_sizes_of_tiffs_of_several_channels(root, shape, axes):
    tifffile.imwrite(root / "é.tif", np.zeros(shape, np.uint8), metadata={"axes": axes}, ome=True)
    truth = good()
    assert validate(truth, root) == []
    (root / "é.tif").write_bytes((root / "é.tif").read_bytes()[:6])
    assert "cannot be read as an image" in validate(truth, root)[0].reason


# measuring


@given(st.data())
@settings(deadline=None)
def test_masks_are_measured_as_pycocotools_does(data):
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
    masks = data.draw(
        st.lists(hnp.arrays(np.uint8, shapes, elements=st.integers(0, 1)), max_size=6)
    )
    rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    tasks = []
    for mask, rle in zip(masks, rles):
        line = np.concatenate(([0], mask.ravel(order="F"), [2]))
        counts = np.diff(np.flatnonzero(np.diff(line) != 0), prepend=0).tolist()
        written = {"size": list(mask.shape), "counts": rle["counts"].decode()}
        tasks += [(written, *mask.shape), ({**written, "counts": counts}, *mask.shape)]
    results = list(measure(tasks))
    for number, mask in enumerate(masks):
        packed, plain = results[2 * number : 2 * number + 2]
        assert packed == plain
        if not mask.any():
            assert "without a pixel" in packed.problem
            continue
        assert packed.problem == ""
        assert packed.area == mask.sum()
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        assert packed.box == (
            columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0],
        )  # fmt: skip
    keys = [(mask.shape, mask.tobytes()) for mask in masks if mask.any()]
    measured = [(task[1:], one.key) for task, one in zip(tasks[::2], results[::2]) if one.key]
    assert len(set(keys)) == len(set(measured))


coordinates = st.integers(-40, 80).map(lambda n: n / 2)
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=7, unique=True)


@given(st.lists(st.tuples(rings, st.integers(1, 20), st.integers(1, 20)), max_size=5))
@settings(deadline=None)
def test_polygons_are_measured_as_pycocotools_rasterises_them(objects):
    tasks = [([np.ravel(ring).tolist()], height, width) for ring, height, width in objects]
    for (polygons, height, width), one in zip(tasks, list(measure(tasks))):
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        if one.problem:
            assert coco_mask.area(rle) == 0 or "wholly outside" in one.problem
        else:
            assert (one.area, list(one.box)) == (
                coco_mask.area(rle),
                coco_mask.toBbox(rle).tolist(),
            )


@given(st.lists(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)))
@settings(deadline=None)
def test_any_text_is_read_as_runs_without_harm(texts):
    tasks = [({"size": [6, 7], "counts": text}, 6, 7) for text in texts]
    for text, one in zip(texts, list(measure(tasks)), strict=True):
        assert one.problem or 0 < one.area <= 42
        if not one.problem:
            assert one.area == coco_mask.area({"size": [6, 7], "counts": text})


@pytest.mark.parametrize("limit", [(2, 10**6), (10**6, 1), (10**6, 60)])
def test_what_is_measured_does_not_depend_on_how_many_at_a_time(monkeypatch, limit):
    truth = good()
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    tasks = [(one["segmentation"], *sizes[one["image_id"]]) for one in truth["annotations"]] * 3
    tasks.insert(5, (None, 4, 4))
    at_once = list(measure(tasks))
    monkeypatch.setattr(validation_masks, "_CHUNK", limit)
    assert list(measure(iter(tasks))) == at_once
    assert [one.area for one in at_once] == [20, 4, 36, 52, 20, 0, 4, 36, 52, 20, 4, 36, 52]


def test_runs_that_stop_in_the_middle_of_a_number_are_broken():
    counts = good()["annotations"][0]["segmentation"]["counts"]
    cut = counts[:-1] + chr(ord(counts[-1]) + 32)  # as if another digit followed
    (whole,), (broken,) = (
        measure([({"size": [20, 30], "counts": text}, 20, 30)]) for text in (counts, cut)
    )
    assert whole.problem == ""
    assert broken.problem == "RLE counts are broken: they are no run lengths"


def test_clipping_keeps_what_lies_inside():
    assert clip([2, 3, 8, 3, 8, 9], 10, 10) == [2, 3, 8, 3, 8, 9]
    assert clip([20, 20, 30, 20, 30, 30], 10, 10) == []
    ring = clip([5, 5, 1e9, 5, 1e9, 8, 5, 8], 10, 10)
    (mask,) = measure([([ring], 10, 10)])
    assert (mask.area, mask.box) == (15, (5, 5, 5, 3))


# repair


def test_polygons_are_kept_but_for_what_is_broken():
    truth = good()
    written = [SQUARE, [5, 5, 1e9, 5, 1e9, 8, 5, 8], [1, 2, 3]]
    truth["annotations"][2]["segmentation"] = written
    fixed, repairs = repair(truth, None)
    kept = fixed["annotations"][2]["segmentation"]
    assert kept[0] == SQUARE
    assert len(kept) == 2
    assert max(kept[1]) == 18.0
    assert fixed["annotations"][2]["bbox"] == [2.0, 3.0, 16.0, 6.0]
    assert [(r.action, r.image, r.item) for r in repairs][0] == ("changed", "é.tif", "annotation 3")
    assert errors(fixed) == []


def test_ids_are_made_unique_and_what_refers_to_them_follows():
    truth = good()
    truth["images"][1]["id"] = "2"
    truth["categories"][1]["id"] = 2.0
    for entry, number in zip(truth["annotations"], (3, 3, None, 0)):
        entry["id"] = number
    truth["annotations"][3]["category_id"] = "2"
    fixed, repairs = repair(truth, None)
    assert errors(fixed) == []
    assert [image["id"] for image in fixed["images"]] == [1, 2]
    assert [entry["id"] for entry in fixed["annotations"]] == [3, 1, 2, 4]
    assert [entry["image_id"] for entry in fixed["annotations"]] == [1, 1, 2, 2]
    assert [entry["category_id"] for entry in fixed["annotations"]] == [1, 2, 1, 2]
    assert {repair.action for repair in repairs} == {"changed"}


@pytest.mark.parametrize("number", [None, 1])
def test_an_image_whose_objects_are_not_known_is_left_out(number):
    truth = good()
    truth["images"][1]["id"] = number
    fixed, repairs = repair(truth, None)
    assert [image["file_name"] for image in fixed["images"]] == ["a b.png"]
    assert [entry["id"] for entry in fixed["annotations"]] == [1, 2]
    assert ("left out", "é.tif") in [repair[:2] for repair in repairs]


def test_missing_ids_of_images_are_given_where_there_are_no_objects():
    truth = good()
    del truth["annotations"], truth["images"][0]["id"]
    fixed, _ = repair(truth, None)
    assert [image["id"] for image in fixed["images"]] == [1, 2]
    assert "annotations" not in fixed


def test_new_ids_take_no_object_of_what_is_not_listed():
    truth = good()
    del truth["categories"][1]["id"]  # 2, of which there are objects
    fixed, _ = repair(truth, None)
    assert errors(fixed) == []
    assert {entry["category_id"] for entry in fixed["annotations"]} == {1}


def test_an_image_listed_twice_is_one_with_the_objects_of_both():
    truth = good()
    truth["images"].append({**truth["images"][0], "id": 3})
    truth["annotations"][1]["image_id"] = 3
    fixed, _ = repair(truth, None)
    assert fixed == good()


def test_a_category_listed_twice_is_one():
    truth = good()
    truth["categories"].append({"id": 3, "name": "nucleus"})
    truth["annotations"][0]["category_id"] = 3
    assert repair(truth, None)[0] == good()


def test_sizes_come_from_the_files_and_missing_images_are_left_out(root):
    truth = good()
    truth["images"][0]["width"] = None
    (root / "é.tif").unlink()
    fixed, repairs = repair(truth, root)
    assert fixed["images"] == good()["images"][:1]
    assert fixed["annotations"] == good()["annotations"][:2]
    reasons = [f"{r.action}: {r.item}: {r.reason}" for r in repairs]
    assert reasons[0] == "changed: image 1: is of 30x20 pixels, not Nonex20"
    assert "left out: image 2: its file: there is no such file" in reasons[1]
    assert [reason.split(":")[1] for reason in reasons[2:]] == [" annotation 3", " annotation 4"]


def test_boxes_and_areas_are_those_of_the_masks():
    truth = good()
    for number, entry in enumerate(truth["annotations"]):
        entry |= {"bbox": [0, 0, 99, 99], "area": None, "iscrowd": "1" if number else "0"}
    fixed, _ = repair(truth, None)
    for number, (entry, same) in enumerate(zip(fixed["annotations"], good()["annotations"])):
        assert entry == {**same, "iscrowd": int(number > 0)}


def test_crowds_that_are_all_there_is_become_objects_and_ignored_ones_crowds():
    truth = good()
    for entry in truth["annotations"]:
        entry["iscrowd"] = 1
    words = f"all {len(truth['annotations'])} are iscrowd, so that nothing is left to train on"
    assert [f.reason for f in validate(truth, None) if words in f.reason]
    fixed, repairs = repair(truth, None)
    assert {entry["iscrowd"] for entry in fixed["annotations"]} == {0}
    assert sum("iscrowd is 0, not 1" in r.reason for r in repairs) == len(truth["annotations"])
    truth = good()
    truth["annotations"][0]["ignore"] = 1
    fixed, _ = repair(truth, None)
    assert fixed["annotations"][0]["iscrowd"] == 1 and "ignore" not in fixed["annotations"][0]
    assert not [f for f in validate(fixed, None) if f.severity == "error"]


# anything at all

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([0, 1, 2, 3, "1", 2.0, -1, 10**400, 2**31, "nucleus", "a b.png", "0", "ooo"]),
    lambda inner: st.lists(inner, max_size=8)
    | st.dictionaries(st.sampled_from(["id", "size", "counts", "name"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def places(value, path=()):
    """Paths to everything in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from places(inner, (*path, key))


@st.composite
def mutated(draw):
    """The good file with up to five members exchanged, removed or repeated."""
    truth = good()
    for _ in range(draw(st.integers(1, 5))):
        path = draw(st.sampled_from(list(places(truth))))
        if not path:
            continue
        inner = truth
        for key in path[:-1]:
            inner = inner[key]
        what = draw(st.sampled_from(["exchange", "exchange", "remove", "repeat"]))
        if what == "exchange":
            inner[path[-1]] = draw(JUNK)
        elif what == "remove":
            del inner[path[-1]]
        elif isinstance(inner, list):
            inner.append(copy.deepcopy(inner[path[-1]]))
    return truth


@given(mutated() | JUNK, st.booleans())
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_ends_in_a_traceback_and_the_repaired_copy_has_no_error(root, truth, with_files):
    folder = root if with_files else None
    before = repr(truth)
    for finding in validate(truth, folder):
        assert finding.kind in KINDS
        assert finding.severity in ("error", "warning")
        assert finding.item and finding.reason
    try:
        fixed, _ = repair(truth, folder)
    except DataError as error:
        assert str(error).startswith("cannot be repaired: ")
    else:
        assert errors(fixed, folder) == []
        again, repairs = repair(fixed, folder)
        assert [r.action for r in repairs if r.action == "left out"] == []
        assert again["images"] == fixed["images"]
    assert repr(truth) == before


@example([0.0, 3.0, 6.0, 3.25, 0.125], 2.5, (10.0, 10.0))  # a sliver: one pixel of it is left
@given(
    angles=st.lists(st.floats(0, 6.28), min_size=5, max_size=16, unique=True),
    radius=st.floats(2.5, 9),
    middle=st.tuples(st.floats(9.5, 10.5), st.floats(9.5, 10.5)),
)
def test_the_area_inside_of_an_outline_is_as_good_as_its_pixels(angles, radius, middle):
    angles = np.sort(angles)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + middle
    x, y = ring.T
    inside = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    rle = coco_mask.frPyObjects([ring.ravel().tolist()], 25, 18)[0]
    if inside < 1 or not coco_mask.area(rle):
        return  # nothing of it is left in pixels
    truth = good()
    truth["annotations"][2] |= {
        "segmentation": [ring.ravel().tolist()],
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": float(inside),
    }
    assert not [f for f in found(truth) if f[0] == "areas"]
    fixed, _ = repair(truth, None)
    assert fixed["annotations"][2]["area"] == float(inside)
    truth["annotations"][2]["area"] = 3 * float(inside) + 20
    assert [f for f in found(truth) if f[0] == "areas"]


@settings(max_examples=80)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 9))))
def test_pieces_are_those_that_scipy_counts(mask):
    if not mask.any():
        return
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    rle = {"size": list(mask.shape), "counts": encoded["counts"].decode()}
    (found,) = measure([(rle, *mask.shape)])
    assert found.pieces == ndimage.label(mask, np.ones((3, 3)))[1]


def test_an_object_in_pieces_is_a_warning():
    truth = good()
    mask = np.zeros((20, 30), np.uint8, order="F")
    mask[2:5, 2:5] = mask[9:12, 9:12] = mask[9:12, 20:23] = mask[15:18, 20:23] = 1
    counts = coco_mask.encode(mask)["counts"].decode()
    truth["annotations"][0] |= {"segmentation": {"size": [20, 30], "counts": counts}}
    found = [f for f in validate(truth, None) if f.kind == "pieces"]
    assert [(f.severity, f.item, f.reason[:11]) for f in found] == [
        ("warning", "annotation 1", "in 4 pieces")
    ]


def test_a_polygon_inside_another_is_a_warning():
    truth = good()
    inner = [4.0, 5.0, 6.0, 5.0, 6.0, 7.0, 4.0, 7.0]
    truth["annotations"][0] |= {"segmentation": [SQUARE, inner], "area": 36, "bbox": [2, 3, 6, 6]}
    reasons = [f.reason for f in validate(truth, None) if f.item == "annotation 1"]
    assert reasons == [
        "a polygon lies inside another: COCO fills it; a hole needs run lengths (RLE)"
    ]
