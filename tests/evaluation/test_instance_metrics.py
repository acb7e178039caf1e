"""Metrics of shown objects, held against independent packages on random label images."""

import numpy as np
import pycocotools.mask as mask_util
import pytest
from cellseg_metrics import aggregated_jaccard_index, panoptic_quality
from hypothesis import given
from hypothesis import strategies as st

from maskrcnnpp.errors import DataError
from maskrcnnpp.evaluation import coco_average_precision
from maskrcnnpp.evaluation.instance_metrics import (
    best_score_threshold,
    count_images,
    summarize,
)
from maskrcnnpp.evaluation.matching import IOU_THRESHOLDS, match, match_most_iou
from maskrcnnpp.evaluation.overlaps import find_overlaps
from maskrcnnpp.evaluation.ranking import average_precision, rank

SIDE = 24


def masks_of(labels):
    """RLE of each object of a label image."""
    return [
        mask_util.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        for label in np.unique(labels[labels > 0])
    ]


def as_coco(truths, predictions, scores=None):
    """COCO truth and results of two lists of label images."""
    annotations, results = [], []
    for image_id, (truth, prediction) in enumerate(zip(truths, predictions), start=1):
        for mask in masks_of(truth):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "segmentation": mask,
                    "area": float(mask_util.area(mask)),
                    "bbox": mask_util.toBbox(mask).tolist(),
                    "iscrowd": 0,
                }
            )
        for mask in masks_of(prediction):
            score = 1.0 if scores is None else scores[len(results)]
            results.append(
                {"image_id": image_id, "category_id": 1, "segmentation": mask, "score": score}
            )
    images = [
        {"id": k, "height": t.shape[0], "width": t.shape[1]} for k, t in enumerate(truths, start=1)
    ]
    coco = {"images": images, "categories": [{"id": 1}], "annotations": annotations}
    return coco, results


def overlaps_of(truths, predictions, scores=None):
    return find_overlaps(*as_coco(truths, predictions, scores), max_dets=1000)


@st.composite
def label_images(draw):
    """A truth and a prediction that is often a spoilt copy of it: shifted, split, merged, empty."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = np.zeros((SIDE, SIDE), dtype=np.int32)
    for label in range(1, draw(st.integers(0, 8)) + 1):
        y, x = generator.integers(0, SIDE, 2)
        height, width = generator.integers(2, 10, 2)
        truth[y : y + height, x : x + width] = label
    shift = tuple(generator.integers(-2, 3, 2))
    prediction = np.roll(truth, shift, axis=(0, 1))
    for label in range(1, 9):
        kind = generator.integers(0, 6)
        if kind == 0:
            prediction[prediction == label] = 0
        elif kind == 1:
            prediction[prediction == label] = 1 + label % 8
        elif kind == 2:
            prediction[:, ::2][prediction[:, ::2] == label] = 10 + label
    return truth, prediction


@pytest.mark.slow
@given(st.lists(label_images(), min_size=1, max_size=3))
def test_matching_is_stardists(pairs):
    stardist = pytest.importorskip("stardist.matching", reason="of the extra peers")
    truths, predictions = zip(*pairs)
    counts = count_images(overlaps_of(truths, predictions), 0.5)
    ours = summarize(counts)
    for index, threshold in enumerate(IOU_THRESHOLDS):
        by_image = [stardist.matching(t, p, thresh=threshold) for t, p in pairs]
        assert counts.true_positives[:, index].tolist() == [m.tp for m in by_image]
        theirs = stardist.matching_dataset(
            truths, predictions, thresh=threshold, show_progress=False
        )
        if theirs.n_true + theirs.n_pred == 0:
            assert np.isnan(ours[f"accuracy@{threshold:.2f}"])
            continue
        assert ours[f"accuracy@{threshold:.2f}"] == pytest.approx(theirs.accuracy)
        if index == 0:
            assert ours["f1"] == ours["rq"] == pytest.approx(theirs.f1)
            assert ours["pq"] == pytest.approx(theirs.panoptic_quality)
            if theirs.tp:
                assert ours["sq"] == pytest.approx(theirs.mean_matched_score)
                assert ours["pq"] == pytest.approx(ours["sq"] * ours["rq"])


@given(label_images())
def test_panoptic_quality_is_that_of_cellseg_metrics(pair):
    truth, prediction = pair
    # it takes IoU above, not at, the threshold, and adds a small number to what it divides by
    ours = summarize(count_images(overlaps_of([truth], [prediction]), 0.5))
    theirs = panoptic_quality(truth, prediction, thresh=0.5 - 1e-6)
    if truth.any() or prediction.any():
        assert ours["pq"] == pytest.approx(theirs["pq"], abs=1e-6)
        assert ours["rq"] == pytest.approx(theirs["dq"], abs=1e-6)


def literal_aji(truth, prediction):
    """Kumar et al. 2017, algorithm 1, pixel by pixel."""
    shared = covered = 0
    used = set()
    for label in np.unique(truth[truth > 0]):
        mask = truth == label
        others = [
            (np.sum(mask & (prediction == k)) / np.sum(mask | (prediction == k)), k)
            for k in np.unique(prediction[mask])
            if k > 0
        ]
        if not others:
            covered += mask.sum()
            continue
        best = max(iou for iou, _ in others)
        k = min(k for iou, k in others if iou == best)
        shared += np.sum(mask & (prediction == k))
        covered += np.sum(mask | (prediction == k))
        used.add(k)
    covered += sum(np.sum(prediction == k) for k in np.unique(prediction) if k and k not in used)
    return shared / covered if covered else 1.0


@given(label_images())
def test_aji_is_kumars_and_aji_plus_is_not_above(pair):
    truth, prediction = pair
    counts = count_images(overlaps_of([truth], [prediction]), 0.5)
    assert counts.aji[0] == pytest.approx(literal_aji(truth, prediction))
    assert 0 <= counts.aji_plus[0] <= 1


def test_aji_of_cellseg_metrics_where_nothing_is_ambiguous():
    truth = np.zeros((20, 20), dtype=np.int32)
    truth[2:8, 2:8], truth[10:16, 3:9], truth[2:6, 12:18] = 1, 2, 3
    prediction = np.zeros_like(truth)
    prediction[3:9, 2:8], prediction[10:15, 4:10], prediction[12:15, 14:18] = 1, 2, 3
    counts = count_images(overlaps_of([truth], [prediction]), 0.5)
    theirs = aggregated_jaccard_index(truth, prediction)
    assert counts.aji[0] == counts.aji_plus[0] == pytest.approx(theirs)


@given(label_images())
def test_foreground_is_that_of_the_pixels(pair):
    truth, prediction = pair[0] > 0, pair[1] > 0
    counts = count_images(overlaps_of([pair[0]], [pair[1]]), 0.5)
    if truth.any() or prediction.any():
        shared, either = np.sum(truth & prediction), np.sum(truth | prediction)
        assert counts.foreground_iou[0] == pytest.approx(shared / either)
        assert counts.dice[0] == pytest.approx(2 * shared / (truth.sum() + prediction.sum()))
    else:
        assert counts.foreground_iou[0] == counts.dice[0] == 1


def test_a_perfect_prediction():
    labels = np.arange(16).reshape(4, 4).repeat(5, axis=0).repeat(5, axis=1)
    summary = summarize(count_images(overlaps_of([labels], [labels]), 0.5))
    assert summary.pop("count_error") == 0
    assert set(summary.values()) == {1.0}


def test_nothing_to_find_and_nothing_found():
    empty = np.zeros((8, 8), dtype=np.int32)
    counts = count_images(overlaps_of([empty], [empty]), 0.5)
    summary = summarize(counts)
    assert summary["dsb_score"] == summary["aji"] == summary["dice"] == 1
    assert np.isnan(summary["f1"]) and summary["count_error"] == 0


def test_nothing_found_and_everything_wrong():
    empty, one = np.zeros((8, 8), dtype=np.int32), np.ones((8, 8), dtype=np.int32)
    for pair in (([one], [empty]), ([empty], [one])):
        summary = summarize(count_images(overlaps_of(*pair), 0.5))
        for name in ("dsb_score", "aji", "aji_plus", "dice", "f1", "pq"):
            assert summary[name] == 0, name
        assert summary["count_error"] == 1


def test_the_threshold_counts_the_score_itself():
    labels = np.array([[1, 1, 0, 2, 2, 0, 3, 3]])
    overlaps = overlaps_of([labels], [labels], scores=[0.9, 0.5, 0.4])
    assert count_images(overlaps, 0.5).predictions.tolist() == [2]
    assert count_images(overlaps, 0.51).predictions.tolist() == [1]
    assert len(overlaps.above(0.95).iou) == 0


def test_the_threshold_is_tuned_to_the_dsb_score():
    truth = np.array([[1, 1, 0, 2, 2, 0, 0, 0]])
    prediction = np.array([[1, 1, 0, 2, 2, 0, 3, 3]])
    assert best_score_threshold(overlaps_of([truth], [prediction], [0.9, 0.8, 0.6])) == 0.65
    # nothing found at any threshold: the lowest
    assert best_score_threshold(overlaps_of([truth], [np.zeros_like(truth)])) == 0.05


def test_weights_count_images_as_often():
    generator = np.random.default_rng(0)
    pairs = [(generator.integers(0, 4, (6, 6)), generator.integers(0, 4, (6, 6))) for _ in range(3)]
    truths, predictions = zip(*pairs)
    weighted = summarize(count_images(overlaps_of(truths, predictions), 0.5), np.array([2, 0, 1]))
    repeated = [pairs[0], pairs[0], pairs[2]]
    plain = summarize(count_images(overlaps_of(*zip(*repeated)), 0.5))
    assert weighted == pytest.approx(plain, nan_ok=True)


@given(st.lists(label_images(), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_average_precision_is_that_of_faster_coco_eval(pairs, seed):
    truths, predictions = zip(*pairs)
    count = sum(len(masks_of(p)) for p in predictions)
    scores = np.random.default_rng(seed).integers(0, 5, count) / 4  # many are equal
    coco, results = as_coco(truths, predictions, scores.tolist())
    ours = average_precision(rank(find_overlaps(coco, results, max_dets=3)))
    theirs = coco_average_precision(coco, results, "segm", 3)["AP"]
    assert ours == pytest.approx(theirs, abs=1e-9, nan_ok=True)


def test_average_precision_with_weights_is_that_of_repeated_images():
    generator = np.random.default_rng(1)
    labels = [generator.integers(0, 4, (6, 6)) for _ in range(6)]
    weighted = average_precision(rank(overlaps_of(labels[:3], labels[3:])), np.array([1, 0, 3]))
    again = [0, 2, 2, 2]
    plain = rank(overlaps_of([labels[k] for k in again], [labels[3 + k] for k in again]))
    assert weighted == pytest.approx(average_precision(plain))


def test_categories_do_not_mix():
    labels = np.array([[1, 1, 0, 2, 2]])
    coco, results = as_coco([labels], [labels])
    coco["categories"] = [{"id": 1}, {"id": 2}]
    coco["annotations"][0]["category_id"] = 2
    overlaps = find_overlaps(coco, results, max_dets=100)
    assert summarize(count_images(overlaps, 0.5))["f1"] == 0.5
    theirs = coco_average_precision(coco, results, "segm", 100)["AP"]
    assert average_precision(rank(overlaps)) == pytest.approx(theirs)


def test_crowds_are_refused():
    labels = np.array([[1, 1, 0, 2, 2]])
    coco, results = as_coco([labels], [labels])
    coco["annotations"][0]["iscrowd"] = 1
    with pytest.raises(DataError, match="annotation 1 is of a crowd"):
        find_overlaps(coco, results, max_dets=100)


def test_equal_scores_count_in_the_order_of_image_ids():
    labels = np.array([[1, 1, 0, 2, 2]])
    coco, results = as_coco([labels] * 2, [labels, np.roll(labels, 1)])
    coco["images"].reverse()
    ours = average_precision(rank(find_overlaps(coco, results, max_dets=100)))
    theirs = coco_average_precision(coco, results, "segm", 100)["AP"]
    assert ours == pytest.approx(theirs)


def test_more_masks_than_pycocotools_areas_can_hold():
    labels = np.zeros((40, 40), dtype=np.int32)
    labels[::2, ::2] = np.arange(1, 401).reshape(20, 20)
    assert summarize(count_images(overlaps_of([labels], [labels]), 0.5))["pq"] == 1


def test_matchings_are_one_to_one():
    generator = np.random.default_rng(3)
    overlaps = overlaps_of([generator.integers(0, 9, (9, 9))], [generator.integers(0, 9, (9, 9))])
    for pairs in (match(overlaps, 0.01), match_most_iou(overlaps)):
        for side in (overlaps.pair_detection, overlaps.pair_truth):
            assert len(np.unique(side[pairs])) == len(pairs) > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 9}, "image 9"),
        ({"category_id": 0}, "category 0"),
        ({"segmentation": None}, "no 'segmentation'"),
        ({"score": float("nan")}, "score nan"),
        ({"segmentation": {"size": [2, 2], "counts": b"04"}}, "size"),
        ({"segmentation": "text"}, "segmentation"),
    ],
)
def test_results_that_do_not_fit(change, words):
    labels = np.array([[1, 1, 0, 2, 2]])
    coco, results = as_coco([labels], [labels])
    results[0] |= change
    with pytest.raises(DataError, match=words):
        find_overlaps(coco, results, max_dets=100)


@pytest.mark.parametrize("key", ["image_id", "category_id", "segmentation"])
def test_truth_that_lacks_something_is_named(key):
    truth, results = as_coco([np.ones((8, 8), int)], [np.ones((8, 8), int)])
    del truth["annotations"][0][key]
    with pytest.raises(DataError, match=f"truth annotation 1 has no '{key}'"):
        find_overlaps(truth, results, max_dets=10)
