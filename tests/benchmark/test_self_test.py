from maskrcnnpp.benchmark.self_test import TOLERANCE, made_up, self_test


def test_all_of_cocos_metrics_are_pycocotools():
    found = self_test(images=4, truths=120, detections=240)
    assert found["passed"] and max(found["differences"].values()) <= TOLERANCE
    assert (found["images"], found["truths"], found["detections"]) == (4, 120, 240)
    assert found["seconds"] > 0


def test_what_is_made_up_is_neither_perfect_nor_hopeless():
    truth, results = made_up(4, 120, 240)
    assert len({result["image_id"] for result in results}) == len(truth["images"])
    assert made_up(4, 120, 240) == (truth, results)
