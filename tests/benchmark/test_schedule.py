"""The page of accuracy against the length of a training."""

from made_up import script

schedule = script("schedule")
STOCK, FAST = list(schedule.ARMS)[:2]


def trial(config, iterations, seed, masks, dataset=schedule.DATASET):
    metrics = {dataset: {"segm": {"AP": masks}, "bbox": {"AP": masks - 4}}}
    return {"config_file": config, "iterations": iterations, "seed": seed, "metrics": metrics}


def test_the_page_is_what_the_records_give():
    points = schedule.read()
    assert (schedule.HERE / "schedule.md").read_text() == schedule.page(points)
    assert schedule.verdict(points) in schedule.RESULTS_PAGE.read_text()


def test_trainings_of_the_same_recipe_and_another_length_are_compared():
    row = {"iterations": 6000, "seed": 0, "dataset": schedule.DATASET}
    row |= {"segm": {"AP": 63.0}, "bbox": {"AP": 59.0}}
    words = f"--config-file {STOCK} SOLVER.MAX_ITER 6000 SOLVER.STEPS '(4000,5400)'"
    points = schedule.measured(
        [
            trial(STOCK, 3000, 0, 61.0),
            trial(STOCK, 3000, 1, 62.0),
            trial(STOCK, 3000, 0, 99.0),  # the same again, on another machine
            trial(FAST, 3000, 0, 63.5),
            trial(FAST, 3000, 1, 99.0, dataset="dsb2018_test"),
            trial("configs/benchmark/lite0/plain.yaml", 3000, 0, 99.0),
            trial(FAST, 6000, 0, 64.0),
        ],
        [
            {**row, "arguments": words},
            {**row, "arguments": f"{words} SOLVER.BASE_LR 0.1", "seed": 1},
        ],
    )
    assert points["stock"] == {3000: ([61.0, 62.0], [57.0, 58.0]), 6000: ([63.0], [59.0])}
    assert points["fast"] == {3000: ([63.5], [59.5]), 6000: ([64.0], [60.0])}
    text = schedule.verdict(points).replace("\n", " ")
    assert "+2.0 and +2.0 after 3000 iterations (1 and 2 seeds)" in text
    assert "From 3000 to 6000 iterations stock gains +1.5 mask AP and `fast` +0.5." in text
    assert "61.5" in schedule.table(points) and schedule.picture(points)[:4] == b"\x89PNG"
