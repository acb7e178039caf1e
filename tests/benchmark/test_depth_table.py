import io

import matplotlib.image
import pytest

from maskrcnnpp.benchmark import depth_table as depths


@pytest.fixture
def results():
    def row(depth, ap, seconds):
        return {
            "depth": depth,
            "AP": ap,
            "AP50": 2 * ap,
            "dsb_score": ap / 100,
            "parameters": depth * 10**6,
            "flops": depth * 1e9,
            "latency": [seconds, seconds, seconds],
            "peak_memory": 700.0 + depth,
        }

    rows = [row(1, 31.0, 0.05), row(2, 39.6, 0.07), row(3, 40.2, 0.09), row(4, 40.0, 0.1)]
    return {
        "weights": "model.pth",
        "dataset": "nuclei_val",
        "metric": "AP",
        "image_size": [64, 64],
        "images": 3,
        "machine": {"cores": "2"},
        "versions": {"torch": "2"},
        "depths": rows,
    }


@pytest.mark.parametrize(
    ("wishes", "depth"),
    [
        ({"max_ap_drop": 0.5}, 2),
        ({"max_ap_drop": 0.1}, 3),
        ({"max_ap_drop": 10}, 1),
        ({"max_latency": 1000}, 3),
        ({"max_latency": 75}, 2),
        ({"max_latency": 75, "max_ap_drop": 0.5}, 2),
        ({"max_latency": 10}, None),
        ({"max_latency": 60, "max_ap_drop": 0.5}, None),
    ],
)
def test_the_depth_to_choose(results, wishes, depth):
    found = depths.recommended(results["depths"], **wishes)
    assert (found and found["depth"]) == depth
    words = depths.recommendation(results["depths"], **wishes)
    assert (f"L{depth}," in words) if depth else words.startswith("No depth is at most")


def test_the_table_and_the_picture(results, tmp_path):
    choice = depths.recommendation(results["depths"], max_ap_drop=0.5)
    depths.write_depths(tmp_path, results, choice)
    text = (tmp_path / depths.TABLE_FILE).read_text()
    row = next(line for line in text.splitlines() if line.startswith("| L2"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        *("L2", "39.6", "79.2", "0.396", "2.00", "2.00", "70", "0.70", "702"),
    ]
    assert "Recommended, at most 0.5 AP below the full depth: L2, AP 39.6 (-0.4), 0.70 of" in text
    assert "nuclei_val" in text and "model.pth" in text
    data = (tmp_path / depths.PICTURE_FILE).read_bytes()
    assert matplotlib.image.imread(io.BytesIO(data)).shape[2] == 4
    assert depths.recommendation(results["depths"]) == ""


def test_a_semantic_model_is_judged_by_its_iou(results, tmp_path):
    results["metric"] = "IoU"
    for row in results["depths"]:
        for name in ("AP", "AP50", "dsb_score"):
            del row[name]
        row |= {"IoU": 80.0 + row["depth"], "Dice": 90.0, "mIoU_thresholds": 85.0}
    wishes = {"metric": "IoU", "max_ap_drop": 1.5}
    choice = depths.recommendation(results["depths"], **wishes)
    assert choice.startswith("Recommended, at most 1.5 IoU below the full depth: L3, IoU 83.0")
    depths.write_depths(tmp_path, results, choice)
    text = (tmp_path / depths.TABLE_FILE).read_text()
    assert "| L2      |  82.0 |   90.0 |" in text and "AP" not in text
    assert (tmp_path / depths.PICTURE_FILE).stat().st_size > 1000
