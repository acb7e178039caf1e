"""coco_average_precision against pycocotools, and where the two must differ."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math

import numpy as np
import pycocotools.mask as mask_util
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnnpp.errors import DataError
from maskrcnnpp.evaluation import coco_average_precision, load_coco_truth
from maskrcnnpp.evaluation.coco_metrics import METRICS
from maskrcnnpp.masks.parse import as_rle

SIZE = 128
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def box_rle(x, y, width, height, size=SIZE):
    mask = np.zeros((size, size), dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    rle = mask_util.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def entry(image_id, category_id, x, y, width, height, **more):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x, y, width, height],
        "segmentation": box_rle(x, y, width, height),
        **more,
    }


def dataset(images, annotations, categories=1):
    for number, annotation in enumerate(annotations, start=1):
        annotation.update(id=number, area=annotation["bbox"][2] * annotation["bbox"][3])
        annotation.setdefault("iscrowd", 0)
    return {
        "images": [{"id": i, "height": SIZE, "width": SIZE} for i in range(1, images + 1)],
        "categories": [{"id": 10 * k, "name": f"kind{k}"} for k in range(1, categories + 1)],
        "annotations": annotations,
    }


def grid(image_id, count, side=6, category_id=10):
    """``count`` squares of 5 pixels that do not touch."""
    per_row = SIZE // side
    return [
        entry(image_id, category_id, side * (k % per_row), side * (k // per_row), 5, 5)
        for k in range(count)
    ]


def random_case(seed, images=3, truths=120, categories=2, ties=True):
    """Truths of all sizes, some of them crowds, and moved, missed, doubled and made-up results."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image_id in range(1, images + 1):
        if image_id == 2:
            truths_here = 0  # an image without objects still gets false detections
        else:
            truths_here = truths
        for _ in range(truths_here):
            width, height = rng.integers(2, 40, 2) if rng.random() < 0.9 else (100, 100)
            x, y = rng.integers(0, SIZE - width), rng.integers(0, SIZE - height)
            box = [int(value) for value in (x, y, width, height)]
            kind = 10 * int(rng.integers(1, categories + 1))
            crowd = int(rng.random() < 0.03)
            annotations.append(entry(image_id, kind, *box, iscrowd=crowd))
            if rng.random() < 0.85:
                moved = [max(0, box[0] + int(rng.integers(-2, 3))), *box[1:]]
                results.append(entry(image_id, kind, *moved))
        for _ in range(30):
            box = [int(value) for value in rng.integers(1, 60, 4)]
            results.append(entry(image_id, 10 * int(rng.integers(1, categories + 1)), *box))
    for result in results:
        score = rng.random()
        result["score"] = float(round(score, 1) if ties else score)
    return dataset(images, annotations, categories), results


def reference(truth, results, iou_type, max_dets):
    """pycocotools, as Detectron2 drives it: masks are judged by their own area."""
    results = copy.deepcopy(results)
    for result in results:
        if iou_type == "segm":
            result.pop("bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), iou_type)
        run.params.maxDets = [1, 10, max_dets]
        run.evaluate()
        run.accumulate()
        if max_dets == 100:
            run.summarize()
    if max_dets == 100:
        values = dict(zip((*NAMES, "AR1", "AR10", "AR"), run.stats[:9] * 100, strict=True))
        return {name: value if value >= 0 else math.nan for name, value in values.items()}, run
    # its summary knows no other limit, so take the same means from its arrays
    precision, recall = run.eval["precision"][..., -1], run.eval["recall"][..., 0, -1]
    picked = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]]
    picked += [precision[..., area] for area in (1, 2, 3)] + [recall]
    values = {}
    for name, array in zip((*NAMES, "AR"), picked, strict=True):
        array = array[array > -1]
        values[name] = array.mean() * 100 if array.size else math.nan
    return values, run


@pytest.mark.slow
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("max_dets", [20, 100, 300])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_pycocotools(iou_type, max_dets, seed):
    # one category: more than 100 detections an image; two: AP of each
    categories = seed + 1
    truth, results = random_case(seed, categories=categories, ties=seed == 0)
    ours = coco_average_precision(truth, results, iou_type, max_dets)
    theirs, run = reference(truth, results, iou_type, max_dets)
    for name in (*NAMES, "AR"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9, nan_ok=True), name
    for index in range(categories if categories > 1 else 0):
        precision = run.eval["precision"][:, :, index, 0, -1]
        assert ours[f"AP-kind{index + 1}"] == pytest.approx(precision.mean() * 100, abs=1e-9)


def test_more_than_100_objects_an_image_can_all_be_found():
    truth = dataset(1, grid(1, 150))
    results = [{**annotation, "score": 0.9} for annotation in grid(1, 150)]
    for iou_type in ("bbox", "segm"):
        assert coco_average_precision(truth, results, iou_type, 150)["AP"] == pytest.approx(100)
        cut = coco_average_precision(truth, results, iou_type, 100)
        assert cut["AP"] < 70
        assert cut["AR"] == pytest.approx(100 * 100 / 150)


@pytest.mark.parametrize("max_dets", [1, 3, 10])
def test_small_limits_are_kept(max_dets):
    truth = dataset(1, grid(1, 10))
    results = [{**annotation, "score": 0.9} for annotation in grid(1, 10)]
    values = coco_average_precision(truth, results, "bbox", max_dets)
    assert values["AR"] == pytest.approx(max_dets * 10)


def test_no_results_are_zero_where_there_are_truths():
    values = coco_average_precision(dataset(2, grid(1, 3)), [], "segm", 100)
    assert values["AP"] == values["AP50"] == values["APs"] == values["AR"] == 0
    assert math.isnan(values["APl"])


def test_no_truths_are_nan():
    results = [{**annotation, "score": 0.9} for annotation in grid(1, 2)]
    for found in ([], results):
        values = coco_average_precision(dataset(1, []), found, "bbox", 100)
        assert set(values) == {*METRICS}
        assert all(math.isnan(value) for value in values.values())


def test_one_category_has_no_column_of_its_own():
    values = coco_average_precision(dataset(1, grid(1, 2)), [], "bbox", 10)
    assert list(values) == [*METRICS]


def test_a_category_without_truths_does_not_count():
    truth = dataset(1, grid(1, 4), categories=2)
    results = [{**annotation, "score": 0.5} for annotation in grid(1, 4)]
    values = coco_average_precision(truth, results, "segm", 10)
    assert values["AP"] == values["AP-kind1"] == pytest.approx(100)
    assert math.isnan(values["AP-kind2"])


def test_annotation_ids_do_not_matter():
    truth = dataset(1, grid(1, 4))
    results = [{**annotation, "score": 0.5} for annotation in grid(1, 4)]
    for annotation in truth["annotations"]:
        annotation["id"] = 0
    assert coco_average_precision(truth, results, "bbox", 10)["AP"] == pytest.approx(100)


def test_masks_are_binned_by_their_area_not_their_box():
    # 40 x 40 box, but only its border is set: 304 pixels, small
    truth = dataset(1, [entry(1, 10, 10, 10, 40, 40)])
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8, order="F")
    mask[10:50, 10:50] = 1
    mask[12:48, 12:48] = 0
    truth["annotations"][0].update(segmentation=mask_util.encode(mask), area=int(mask.sum()))
    result = {**truth["annotations"][0], "score": 0.5}
    values = coco_average_precision(truth, [result], "segm", 10)
    assert values["APs"] == pytest.approx(100)
    assert math.isnan(values["APm"])


def test_area_bins_of_the_data():
    truth = dataset(1, [entry(1, 10, 0, 0, size, size) for size in (4, 8, 16)])
    for index, annotation in enumerate(truth["annotations"]):
        annotation["bbox"][0] = 20 * index
    results = [{**annotation, "score": 0.5} for annotation in truth["annotations"][1:]]
    values = coco_average_precision(truth, results, "bbox", 10, area_bins=(20, 100))
    found = {name: values[name] for name in ("ARs", "ARm", "ARl", "APs", "APm", "APl")}
    assert found == pytest.approx(
        {"ARs": 0, "ARm": 100, "ARl": 100, "APs": 0, "APm": 100, "APl": 100}
    )


@pytest.mark.parametrize("bins", [(100, 20), (0, 20), (20, 20)])
def test_impossible_area_bins(bins):
    with pytest.raises(ValueError, match="area_bins"):
        coco_average_precision(dataset(1, []), [], "bbox", 10, area_bins=bins)


def test_polygons_and_uncompressed_truth_masks():
    square = [20, 30, 40, 30, 40, 50, 20, 50]
    counts = [20 * SIZE + 30]
    for _ in range(20):
        counts += [20, SIZE - 20]
    counts[-1] = SIZE * SIZE - sum(counts[:-1])
    forms = ([square], {"size": [SIZE, SIZE], "counts": counts}, box_rle(20, 30, 20, 20))
    for form in forms:
        truth = dataset(1, [entry(1, 10, 20, 30, 20, 20)])
        truth["annotations"][0]["segmentation"] = form
        results = [{**entry(1, 10, 20, 30, 20, 20), "score": 0.5}]
        assert coco_average_precision(truth, results, "segm", 10)["AP"] == pytest.approx(100)
        rle = as_rle(form, SIZE, SIZE)
        assert mask_util.area(rle) == 400
    assert mask_util.area(as_rle([], 7, 5)) == 0
    with pytest.raises(DataError, match="not a COCO segmentation"):
        as_rle("circle", 7, 5)


def test_arguments_are_left_alone_and_truth_may_be_file_dict_or_coco(tmp_path):
    truth, results = random_case(3, images=1, truths=20)
    before = copy.deepcopy((truth, results))
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    values = [coco_average_precision(form, results, "segm", 50) for form in (truth, path, coco)]
    assert (truth, results) == before
    assert values[1] == pytest.approx(values[0], nan_ok=True, abs=0)
    assert values[2] == pytest.approx(values[0], nan_ok=True, abs=0)


def test_quiet(capsys):
    coco_average_precision(dataset(1, grid(1, 2)), [], "bbox", 10)
    assert capsys.readouterr() == ("", "")


def test_entries_that_do_not_fit_are_named():
    truth = dataset(1, grid(1, 2))
    good = {**grid(1, 1)[0], "score": 0.5}
    cases = [
        ({**good, "image_id": 7}, "bbox", "image 7, which is not in the truth"),
        ({key: value for key, value in good.items() if key != "segmentation"}, "segm", "no 'segm"),
        ({**good, "score": math.nan}, "bbox", "score nan"),
        ({**good, "segmentation": box_rle(0, 0, 5, 5, size=64)}, "segm", r"size \(64, 64\)"),
    ]
    for result, iou_type, message in cases:
        with pytest.raises(DataError, match=message):
            coco_average_precision(truth, [result], iou_type, 10)
    truth["annotations"][1].pop("segmentation")
    with pytest.raises(DataError, match="truth annotation 2 has no 'segmentation'"):
        coco_average_precision(truth, [], "segm", 10)
    with pytest.raises(ValueError, match="iou_type"):
        coco_average_precision(truth, [], "keypoints", 10)
    with pytest.raises(ValueError, match="max_dets"):
        coco_average_precision(truth, [], "bbox", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as a COCO"),
        ("[]", "not a COCO annotation file"),
        ('{"images": [{"id": 1}], "categories": []}', "image 1 has no 'height'"),
        ('{"images": [], "categories": [], "annotations": [{"id": 4}]}', "annotation 4 has no"),
    ],
)
def test_bad_truth_files_are_named(tmp_path, text, message):
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_coco_truth(path)
    assert str(path) in str(caught.value)


def test_missing_truth_file(tmp_path):
    with pytest.raises(DataError, match="nothing.json"):
        load_coco_truth(tmp_path / "nothing.json")


def test_masks_are_judged_without_boxes():
    truth = dataset(1, grid(1, 3))
    results = [{**annotation, "score": 0.9} for annotation in grid(1, 3)]
    for entry in (*truth["annotations"], *results):
        del entry["bbox"]
    assert coco_average_precision(truth, results, "segm", 100)["AP"] == pytest.approx(100)
    with pytest.raises(DataError, match="truth annotation 1 has no 'bbox'"):
        coco_average_precision(truth, results, "bbox", 100)


@pytest.mark.parametrize("key", ["image_id", "category_id", "area"])
def test_a_truth_without_what_is_needed(key):
    truth = dataset(1, grid(1, 3))
    del truth["annotations"][1][key]
    with pytest.raises(DataError, match=f"truth annotation 2 has no '{key}'"):
        coco_average_precision(truth, [], "segm", 100)


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "segmentation"])
def test_a_result_without_what_is_needed(key):
    result = {**grid(1, 1)[0], "score": 0.9}
    del result[key]
    with pytest.raises(DataError, match=f"has no '{key}'"):
        coco_average_precision(dataset(1, grid(1, 3)), [result], "segm", 100)


def test_a_truth_that_is_not_coco():
    with pytest.raises(DataError, match="the truth is not COCO: 'images' is missing"):
        coco_average_precision({"annotations": []}, [], "segm", 100)
