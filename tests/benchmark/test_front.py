"""The page of accuracy against time."""

from made_up import script

front = script("front")


def test_the_page_is_what_the_records_give():
    rows = front.measured()
    assert (front.HERE / "front.md").read_text() == front.page(rows)
    assert front.table(rows) in front.RESULTS_PAGE.read_text()
    assert front.sentence(rows) in front.README.read_text()


def test_only_trainings_of_the_schedule_and_the_config_alone_are_compared():
    stock, depth = (
        "configs/cpu/mask_rcnn_lite0_FPN.yaml",
        "configs/benchmark/lite0/isolated_L1.yaml",
    )
    metrics = {"segm": {"AP": 61.0}, "bbox": {"AP": 58.0}}
    trial = {"config_file": stock, "seed": 0, "iterations": front.ITERATIONS}
    trial["metrics"] = {front.DATASET: metrics}
    row = {"arguments": f"--config-file {depth}", "iterations": front.ITERATIONS, "seed": 1}
    row |= {"dataset": front.DATASET, "segm": {"AP": 58.0}, "bbox": {"AP": 54.0}}
    others = [
        {**row, "iterations": 1500, "seed": 2},
        {**row, "arguments": f"{row['arguments']} SOLVER.BASE_LR 0.1", "seed": 3},
        {**row, "dataset": "dsb2018_test", "seed": 4},
    ]
    costs = {"parameters": {"stock": 4e6, "L1": 1e6}, "exported": {"stock": 0.5, "L1": 0.6}}
    rows = front.points([trial], [row, *others], costs)
    assert [(row["arm"], row["masks"]) for row in rows] == [("stock", [61.0]), ("L1", [58.0])]
    text = front.table(rows)
    assert "1.00 (0.25)" in text and "0.60 (1.20)" in text
    assert text.endswith("better than `stock`.")  # and not L1, which is slower and worse
    costs["exported"]["L1"] = 0.4
    rows = front.points([trial], [row], costs)
    assert front.table(rows).endswith("better than `L1` and `stock`.")
