import json

from detectron2.utils.events import EventStorage, JSONWriter

from maskrcnnpp.engine.training_log import read_training_log, seconds_per_iteration


def train(folder, iterations, start=0, depths=3, run=1):
    """What a training with deep supervision in turn writes."""
    writer = JSONWriter(str(folder / "metrics.json"))
    with EventStorage(start) as storage:
        for iteration in range(start, iterations):
            storage.iter = iteration
            storage.put_scalars(total_loss=1.0, time=0.5)
            storage.put_scalar(f"loss_mask_d{iteration % depths + 1}", 2.0 * run)
            if (iteration + 1) % 20 == 0 or iteration + 1 == iterations:
                writer.write()
    writer.close()


def test_losses_that_are_not_put_in_every_iteration(tmp_path):
    train(tmp_path, 500)
    log = read_training_log(tmp_path)
    iterations = [entry["iteration"] for entry in log]
    assert iterations == sorted(set(iterations))
    main = [entry["iteration"] for entry in log if "total_loss" in entry]
    assert main == list(range(19, 500, 20))
    assert log[-1]["iteration"] == 499 and seconds_per_iteration(log) == 0.5
    for depth in (1, 2, 3):
        assert sum(f"loss_mask_d{depth}" in entry for entry in log) >= 20


def test_a_training_that_went_on_at_a_checkpoint(tmp_path):
    train(tmp_path, 100)
    train(tmp_path, 120, start=50, run=2)
    log = read_training_log(tmp_path)
    main = [entry["iteration"] for entry in log if "total_loss" in entry]
    assert main == [19, 39, 59, 79, 99, 119]
    # what the first run put after its checkpoint, but before the first line of the second, is gone
    later = [entry for entry in log if entry["iteration"] > 39]
    losses = [x for entry in later for name, x in entry.items() if name.startswith("loss_mask_d")]
    assert losses and set(losses) == {4.0}
    train(tmp_path, 40)  # and anew
    log = read_training_log(tmp_path)
    assert [entry["iteration"] for entry in log if "total_loss" in entry] == [19, 39]


def test_half_a_line(tmp_path):
    train(tmp_path, 40, depths=1)
    with open(tmp_path / "metrics.json", "a") as handle:
        handle.write(json.dumps({"iteration": 59, "total_loss": 1})[:-4])
    assert [entry["iteration"] for entry in read_training_log(tmp_path)] == [19, 39]
    assert read_training_log(tmp_path / "nowhere") == []
