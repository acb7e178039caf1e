"""A results.json as tools/benchmark.py makes it, of made-up numbers."""

import pytest
from made_up import trial

from maskrcnnpp.benchmark.results import FORMAT

DATASETS = {"nuclei_val": {"images": 3, "truths": 30}, "nuclei_test": {"images": 4, "truths": 40}}
COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")
SHOWN = (
    *("dsb_score", "accuracy@0.50", "accuracy@0.75", "accuracy", "f1", "pq", "sq", "rq", "aji"),
    *("aji_plus", "dice", "foreground_iou", "count_error"),
)


def trial_of_objects(arm, seed, ap):
    metrics = {
        "segm": dict.fromkeys(COCO, ap),
        "bbox": {"AP": ap - 3},
        "shown": dict.fromkeys(SHOWN, ap / 100),
        "score_threshold": 0.5,
        "precision_recall": {"0.50": [1.0] * 101, "0.75": [0.5] * 101},
    }
    return trial(arm, seed, dict.fromkeys(DATASETS, metrics))


def interval(mean, low, high):
    return {"mean": mean, "low": low, "high": high, "p_value": 0.02}


def cost(factor):
    parts = ("encoder", "pyramid", "RPN", "box head", "mask head", "total")
    seconds = [0.1 * factor, 0.09 * factor, 0.12 * factor]
    return {
        "parameters": dict.fromkeys(parts, int(1e6 * factor)),
        "flops": dict.fromkeys(parts, 1e9 * factor),
        "image_size": [256, 256],
        "latency": dict.fromkeys([*parts, "before and after"], seconds),
        "training": seconds,
        "peak_memory": 900.0 * factor,
    }


@pytest.fixture
def results():
    metrics = ("AP", "dsb_score", "accuracy@0.50", "accuracy", "f1", "pq", "aji", "dice")
    return {
        "format": FORMAT,
        "command": "maskrcnnpp benchmark",
        "reference": "stock",
        "judged": "ours",
        "evaluation": {"max_dets": 500, "area_bins": [160, 470], "datasets": DATASETS},
        "trials": [
            *(trial_of_objects("stock", seed, ap) for seed, ap in enumerate((40.0, 42.0, 44.0))),
            *(trial_of_objects("wide", seed, ap) for seed, ap in enumerate((40.5, 42.0, 44.0))),
            *(trial_of_objects("ours", seed, ap) for seed, ap in enumerate((43.0, 44.0, 48.0))),
        ],
        "replicates": 1000,
        "differences": {
            "nuclei_test": {
                "wide": {"stock": dict.fromkeys(metrics, interval(0.17, -0.4, 0.5))},
                "ours": {
                    "stock": dict.fromkeys(metrics, interval(3.0, 1.8, 4.1)),
                    "wide": dict.fromkeys(metrics, interval(2.8, -0.2, 5.1)),
                },
            }
        },
        "widest": [],
        "cost": {"stock": cost(1), "ours": cost(1.5)},
        "failed": {},
    }
