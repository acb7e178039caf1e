import numpy as np
import pytest
from scipy import stats

from maskrcnnpp.benchmark.scoring import COMPARED, score_predictions
from maskrcnnpp.benchmark.statistics import difference, replicate, resampled_images, welch_p


def replicates(values, spread, seed=0):
    generator = np.random.default_rng(seed)
    return {s: value + spread * generator.normal(size=500) for s, value in values.items()}


def test_a_clear_difference_holds_up_and_a_small_one_does_not():
    stock = {0: 40.0, 1: 41.0, 2: 40.5}
    ours = {seed: value + 3 for seed, value in stock.items()}
    clear = difference(ours, stock, replicates(ours, 0.5), replicates(stock, 0.5, seed=1))
    assert clear.mean == pytest.approx(3)
    assert 1.5 < clear.low < 3 < clear.high < 4.5
    near = {seed: value + 0.1 for seed, value in stock.items()}
    unclear = difference(near, stock, replicates(near, 0.5), replicates(stock, 0.5, seed=1))
    assert unclear.low < 0 < unclear.high


def test_what_both_arms_share_cancels():
    # the same images are drawn for both arms: a hard draw lowers both
    stock = {0: 40.0, 1: 40.0}
    shared = 5 * np.random.default_rng(0).normal(size=500)
    found = difference(
        {s: v + 1 for s, v in stock.items()},
        stock,
        {s: v + 1 + shared for s, v in stock.items()},
        {s: v + shared for s, v in stock.items()},
    )
    assert found.low == pytest.approx(1) and found.high == pytest.approx(1)


def test_seeds_that_disagree_widen_the_interval():
    stock = {0: 40.0, 1: 40.0, 2: 40.0}
    ours = {0: 36.0, 1: 43.0, 2: 44.0}
    found = difference(ours, stock, replicates(ours, 0.01), replicates(stock, 0.01))
    assert found.mean == pytest.approx(1) and found.low < -1 and found.high > 3


def test_only_seeds_of_both_arms_are_paired():
    found = difference(
        {0: 41.0, 5: 99.0}, {0: 40.0}, replicates({0: 41.0, 5: 99.0}, 0), replicates({0: 40.0}, 0)
    )
    assert found.mean == 1 and np.isnan(found.p_value)
    with pytest.raises(ValueError, match="no seed"):
        difference({0: 1.0}, {1: 1.0}, replicates({0: 1.0}, 0), replicates({1: 1.0}, 0))


def test_arms_that_are_not_paired():
    stock, peer = {0: 40.0, 1: 41.0, 2: 42.0}, {0: 50.0}
    found = difference(peer, stock, replicates(peer, 0), replicates(stock, 0), paired=False)
    assert found.mean == pytest.approx(9) and found.low < 9 < found.high


def test_few_seeds_are_widened_to_the_variance_of_their_mean():
    stock = dict.fromkeys(range(3), 0.0)
    ours = {0: -1.0, 1: 0.0, 2: 1.0}
    many = {s: np.full(20000, v) for s, v in ours.items()}
    none = {s: np.full(20000, 0.0) for s in ours}
    found = difference(ours, stock, many, none)
    # the largest draw is the largest seed three times, 1, times sqrt(3 / 2)
    assert found.high == pytest.approx(np.sqrt(1.5)) and found.low == pytest.approx(-np.sqrt(1.5))


def test_metrics_that_could_not_be_computed_do_not_hold_up():
    nan = {0: float("nan")}
    found = difference(nan, nan, replicates(nan, 1), replicates(nan, 1))
    assert np.isnan(found.low) and np.isnan(found.high)


def test_welch():
    first, second = [40.0, 42.0, 41.0], [43.0, 44.5, 43.0]
    assert welch_p(first, second) == stats.ttest_ind(first, second, equal_var=False).pvalue
    assert np.isnan(welch_p([1.0], second))
    assert welch_p([1.0, 1.0], [1.0, 1.0]) == 1 and welch_p([1.0, 1.0], [2.0, 2.0]) == 0


def test_resampled_images_draw_as_many_as_there_are():
    weights = resampled_images(7, 20)
    assert weights.shape == (20, 7) and (weights.sum(axis=1) == 7).all()
    assert (weights == resampled_images(7, 20)).all()


def box(x, size=6):
    return [x, 2, x + size, 2, x + size, 2 + size, x, 2 + size]


def test_predictions_are_scored_by_every_metric_and_resampled():
    truth = {
        "images": [{"id": k, "height": 12, "width": 40} for k in (1, 2)],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": n,
                "image_id": image_id,
                "category_id": 1,
                "segmentation": [box(x)],
                "bbox": [x, 2, 6, 6],
                "area": 36,
            }
            for n, (image_id, x) in enumerate([(1, 2), (1, 20), (2, 5)], start=1)
        ],
    }
    results = [
        {"image_id": image_id, "category_id": 1, "segmentation": [box(x)], "score": score}
        for image_id, x, score in [(1, 2, 0.9), (1, 20, 0.8), (2, 25, 0.7)]
    ]
    for result in results:
        result["bbox"] = [result["segmentation"][0][0], 2, 6, 6]
    scored = score_predictions(truth, results, max_dets=10, area_bins=(20, 100))
    assert scored.metrics["segm"]["AP"] == pytest.approx(scored.metrics["bbox"]["AP"])
    # the second image scores 0 with the false object and without: no threshold is better
    assert scored.metrics["score_threshold"] == 0.05
    assert scored.metrics["shown"]["dsb_score"] == 0.5
    assert len(scored.metrics["precision_recall"]["0.50"]) == 101
    assert set(scored.compared()) == set(COMPARED)
    assert scored.compared()["AP"] == pytest.approx(scored.metrics["segm"]["AP"])

    fixed = score_predictions(truth, results, max_dets=10, area_bins=(20, 100), score_threshold=0)
    assert fixed.shown.score.tolist() == [0.9, 0.8, 0.7]
    no_boxes = [{k: v for k, v in r.items() if k != "bbox"} for r in results]
    metrics = score_predictions(truth, no_boxes, max_dets=10, area_bins=(20, 100)).metrics
    assert "bbox" not in metrics

    values = replicate(scored, np.array([[2, 0], [0, 2]]))
    assert values["AP"].tolist() == pytest.approx([100, 0])
    assert values["dsb_score"].tolist() == [1, 0]
