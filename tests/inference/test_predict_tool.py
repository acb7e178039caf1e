"""tools/predict.py, on a tiny model of random weights."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from detectron2.modeling import build_model
from PIL import Image
from torch.multiprocessing import ProcessExitedException

from maskrcnnpp import cli
from maskrcnnpp.errors import ConfigError, DataError, UserError
from maskrcnnpp.files import PARTIAL
from maskrcnnpp.inference import run
from maskrcnnpp.inference.record import RECORD_FILE
from maskrcnnpp.inference.writers import WRITERS
from maskrcnnpp.lock import LOCK_FILE, locked

FORMATS = ["coco", "labels", "csv", "overlay", "geojson", "rois", "ome-zarr"]


@pytest.fixture
def model_files(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    torch.manual_seed(0)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": build_model(tiny_cfg).state_dict()}, folder / "model.pth")
    return ["--config-file", str(folder / "config.yaml"), "--weights", str(folder / "model.pth")]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, shape in (("a.png", (70, 50, 3)), ("b.png", (40, 40)), ("c.jpg", (50, 60, 3))):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    return folder


def predict(model_files, images, output, *words):
    common = ["--score", "0", "--output", str(output), "--format", *FORMATS]
    return cli.run("predict", [str(images), *model_files, *common, *words])


def test_every_image_has_every_format(model_files, images, tmp_path, capsys):
    output = tmp_path / "out"
    assert predict(model_files, images, output, "--tile-size", "48", "--overlap", "16") == 0
    images = ("a.png", "b.png", "c.jpg")
    expected = {f"{image}{WRITERS[name].ending}" for image in images for name in FORMATS}
    seen = {p.name for p in output.iterdir() if p.name != ".done"}
    assert seen == expected | {RECORD_FILE, run.COCO_FILE}
    assert tifffile.imread(output / "a.png.labels.tif").shape == (70, 50)
    results = json.loads((output / run.COCO_FILE).read_text())
    assert {r["image_id"] for r in results} <= {"a.png", "b.png", "c.jpg"} and results
    record = json.loads((output / RECORD_FILE).read_text())
    assert record["settings"]["tile_size"] == 48 and record["settings"]["percentiles"] is None
    (call,) = record["calls"]
    assert call["command"].startswith("maskrcnnpp predict ") and call["versions"]["torch"]
    tables = [len(file.read_text().splitlines()) - 1 for file in output.glob("*.csv")]
    said = capsys.readouterr().out
    assert f"3 of 3 images, objects: {sum(tables)}: {output}" in said and sum(tables) > 0


def test_what_is_done_is_skipped_and_the_rest_made(model_files, images, tmp_path, capsys):
    output = tmp_path / "out"
    predict(model_files, images, output)
    before = {path: path.read_bytes() for path in output.glob("*.csv")}
    kept = (output / "a.png.csv").stat().st_mtime_ns
    (output / "b.png.csv").unlink()
    assert predict(model_files, images, output) == 0
    assert "2 of 3 images are done" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in output.glob("*.csv")} == before
    assert (output / "a.png.csv").stat().st_mtime_ns == kept
    calls = json.loads((output / RECORD_FILE).read_text())["calls"]
    assert len(calls) == 2


def test_an_image_that_changed_is_predicted_anew(model_files, images, tmp_path):
    output = tmp_path / "out"
    predict(model_files, images, output)
    Image.fromarray(np.zeros((33, 44, 3), np.uint8)).save(images / "a.png")
    assert predict(model_files, images, output) == 0
    assert tifffile.imread(output / "a.png.labels.tif").shape == (33, 44)
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.zeros((22, 55, 3), np.uint8)).save(other / "a.png")  # another of that name
    assert predict(model_files, other, output) == 0
    assert tifffile.imread(output / "a.png.labels.tif").shape == (22, 55)


def test_a_folder_of_something_else_is_left_alone(model_files, images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png.csv").write_text("of another tool")
    with pytest.raises(ConfigError, match="not of a run"):
        predict(model_files, images, tmp_path / "out")


def test_other_formats_of_an_image_that_changed(model_files, images, tmp_path):
    output = tmp_path / "out"
    predict(model_files, images, output, "--format", "labels")
    Image.fromarray(np.zeros((33, 44, 3), np.uint8)).save(images / "a.png")
    predict(model_files, images, output, "--format", "csv")
    predict(model_files, images, output, "--format", "labels")
    assert tifffile.imread(output / "a.png.labels.tif").shape == (33, 44)
    # of one that cannot be read any more nothing is left
    predict(model_files, images, output, "--format", "coco")
    (images / "b.png").write_text("no image")
    assert predict(model_files, images, output, "--format", "coco") == 1
    results = json.loads((output / run.COCO_FILE).read_text())
    assert {r["image_id"] for r in results} <= {"a.png", "c.jpg"}
    assert not (output / "b.png.coco.json").exists()


def test_settings_that_led_to_nothing_are_replaced(model_files, images, tmp_path):
    for path in images.iterdir():
        path.unlink()
    tifffile.imwrite(images / "deep.tif", np.zeros((40, 40), dtype=np.uint16))
    output = tmp_path / "out"
    assert predict(model_files, images, output) == 1
    assert predict(model_files, images, output, "--percentiles", "1", "99.8") == 0


def test_packages_that_a_format_needs(model_files, images, tmp_path, monkeypatch):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--format geojson needs shapely: pip install"):
        predict(model_files, images, tmp_path / "out", "--format", "csv", "geojson")


def test_other_settings_are_not_mixed_in(model_files, images, tmp_path):
    output = tmp_path / "out"
    predict(model_files, images, output)
    with pytest.raises(ConfigError, match=r"other settings \(overlap\)"):
        predict(model_files, images, output, "--overlap", "64")
    weights = Path(model_files[-1])
    torch.save({**torch.load(weights, weights_only=True), "iteration": 1}, weights)
    with pytest.raises(ConfigError, match=r"other settings \(weights\)"):
        predict(model_files, images, output)
    record = json.loads((output / RECORD_FILE).read_text())
    record["calls"][-1] |= {"model": "cells 1.0", "versions": {"maskrcnnpp": "0.0.1"}}
    (output / RECORD_FILE).write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"\(weights; made with cells 1.0 and maskrcnnpp 0.0.1\)"):
        predict(model_files, images, output)
    (output / RECORD_FILE).write_text("[]")
    with pytest.raises(ConfigError, match="not a record of a run"):
        predict(model_files, images, output)


def test_bad_images_are_told_and_the_rest_goes_on(model_files, images, tmp_path, capsys):
    (images / "bad.png").write_text("no image")
    tifffile.imwrite(images / "deep.tif", np.zeros((9, 9), dtype=np.uint16))
    output = tmp_path / "out"
    assert predict(model_files, images, output) == 1
    said = capsys.readouterr()
    assert "bad.png cannot be read" in said.err and "deep.tif is uint16" in said.err
    assert "3 of 5 images" in said.out
    assert not list(output.glob("bad*")) and not list(output.glob("deep*"))
    assert said.err.count("left out: ") == 2
    (images / "bad.png").unlink()
    (images / "deep.tif").unlink()
    assert predict(model_files, images, output) == 0


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(
    model_files, images, tmp_path, monkeypatch
):
    real = tifffile.imwrite
    output = tmp_path / "out"

    def full(path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(
        UserError, match=r"labels.tif cannot be written: No space left.*same command"
    ):
        predict(model_files, images, output)
    assert not [p for p in output.iterdir() if p.suffix == ".tif"]
    monkeypatch.setattr(tifffile, "imwrite", real)
    assert predict(model_files, images, output) == 0


def test_a_folder_that_cannot_be_written_to(model_files, images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is a file: name a folder"):
        predict(model_files, images, tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        predict(model_files, images, tmp_path / "file" / "out")


def test_memory_that_does_not_suffice(model_files, images, tmp_path, monkeypatch, capsys):
    def too_much(*_):
        return torch.empty(2**60)

    monkeypatch.setattr(run.Predictor, "__call__", too_much)
    assert predict(model_files, images, tmp_path / "out") == 1
    assert "a.png: out of memory; lower --tile-size" in capsys.readouterr().err

    def broken(*_):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(run.Predictor, "__call__", broken)
    with pytest.raises(RuntimeError, match="of ours"):
        predict(model_files, images, tmp_path / "out")


KILLED = """
import os, signal, sys
from maskrcnnpp import cli

replace, calls = os.replace, []

def replace_or_die(*paths):
    calls.append(paths)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)

os.replace = replace_or_die
cli.run("predict", sys.argv[1:])
"""


def test_killed_while_it_writes_it_goes_on(model_files, images, tmp_path, capsys):
    """What is there is whole, and the rest is made."""
    output = tmp_path / "out"
    words = [str(images), *model_files, "--score", "0", "--output", str(output)]
    words += ["--format", "labels", "csv"]
    process = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True)
    assert process.returncode == -signal.SIGKILL
    # run.json, two outputs and the mark of each of two images; then one of the third
    visible = [p for p in output.iterdir() if not p.name.startswith(".")]
    assert len(visible) == 5 and list(output.glob(f"{PARTIAL}*"))
    assert cli.run("predict", words) == 0
    assert not list(output.glob(f"{PARTIAL}*"))
    assert "2 of 3 images are done" in capsys.readouterr().out
    labels = list(output.glob("*.labels.tif"))
    assert all(tifffile.imread(path).ndim == 2 for path in labels)
    assert len(labels) == len(list(output.glob("*.csv"))) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-gpus", "9"], "--num-gpus"),
        (["--depth", "7"], "MODEL.NESTED_FPN.DEPTH is 7"),
        (["--opts", "NO.KEY", "1"], "NO.KEY"),
        (["--percentiles", "9", "1"], "percentiles"),
        (["--min-area", "0"], "areas"),
    ],
)
def test_options_that_cannot_work(model_files, images, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        predict(model_files, images, tmp_path / "out", *words)


def test_outputs_have_a_place_of_their_own(model_files, images, tmp_path):
    with pytest.raises(ConfigError, match="folder of the images"):
        predict(model_files, images, images)
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "other" / "a.png")
    with pytest.raises(DataError, match="have one name"):
        cli.run(
            "predict",
            [str(tmp_path / "other"), str(images), *model_files, "--output", str(tmp_path / "out")],
        )


def test_settings_reach_the_model(model_files, images, tmp_path):
    few = ["--min-area", "4", "--max-area", "400", "--nms", "0.2", "--depth", "2"]
    assert predict(model_files, images, tmp_path / "out", *few) == 0
    areas = []
    for path in (tmp_path / "out").glob("*.csv"):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        areas += [float(row[rows[0].index("area")]) for row in rows[1:]]
    assert areas and min(areas) >= 4 and max(areas) <= 400
    record = json.loads((tmp_path / "out" / RECORD_FILE).read_text())
    assert "DEPTH: 2" in record["settings"]["config"]


def test_ids_of_an_annotation_file(model_files, images, tmp_path, capsys):
    names = sorted(path.name for path in images.iterdir())
    entries = [
        {"id": 70 + k, "file_name": f"x/{n}", "height": 9, "width": 9}
        for k, n in enumerate(names[1:])
    ]
    data = {"images": entries, "categories": [{"id": 5, "name": "cell"}]}
    (tmp_path / "a.json").write_text(json.dumps(data))
    output, words = tmp_path / "out", ["--annotations", str(tmp_path / "a.json")]
    words += ["--format", "coco", "geojson"]
    assert predict(model_files, images, output, *words) == 1
    assert f"{names[0]}: the annotations have no image of this name" in capsys.readouterr().err
    results = json.loads((output / run.COCO_FILE).read_text())
    assert {r["image_id"] for r in results} <= {70, 71, 72} and results
    assert {r["category_id"] for r in results} == {5}
    assert '"cell"' in (output / f"{names[1]}.geojson").read_text()
    data["images"].append({**entries[0], "id": 99})
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="two images have the name"):
        predict(model_files, images, tmp_path / "other", *words)
    data["categories"].append({"id": 6, "name": "other"})
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="a.json has 2 classes"):
        predict(model_files, images, tmp_path / "other", *words)


IN_TWO_PROCESSES = """
import os
import pathlib
import sys
import torch
torch.cuda.device_count = lambda: 2
from maskrcnnpp import cli
from maskrcnnpp.commands import predict
inner = predict.predict_files

def told(predictor, job, files, *args, **kwargs):
    names = " ".join(path.name for path in files)
    pathlib.Path(os.environ["SHARES"], str(os.getpid())).write_text(names)
    inner(predictor, job, files, *args, **kwargs)

predict.predict_files = told
if __name__ == "__main__":
    sys.exit(cli.main(["predict", *sys.argv[1:]]))
"""


def test_images_are_shared_by_processes(model_files, images, tmp_path):
    """On the CPU, in the place of two GPUs."""
    (tmp_path / "driver.py").write_text(IN_TWO_PROCESSES)
    output = tmp_path / "out"
    words = [str(images), *model_files, "--output", str(output), "--num-gpus", "2"]
    (tmp_path / "shares").mkdir()
    environment = {**os.environ, "SHARES": str(tmp_path / "shares")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "driver.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 images" in done.stdout
    shares = [path.read_text().split() for path in (tmp_path / "shares").iterdir()]
    assert sorted(map(sorted, shares)) == [["a.png", "c.jpg"], ["b.png"]]
    assert len(list(output.glob("*.csv"))) == 3


def test_what_stops_a_process_is_told_by_it(model_files, images, tmp_path, monkeypatch):
    def launched(*_, **__):
        raise ProcessExitedException("process 1 exited", 1, 7, exit_code=2)

    monkeypatch.setattr("detectron2.engine.launch", launched)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert predict(model_files, images, tmp_path / "out", "--num-gpus", "2") == 2


def test_an_empty_output_is_made_anew(model_files, images, tmp_path, capsys):
    output = tmp_path / "out"
    predict(model_files, images, output)
    whole = (output / "a.png.labels.tif").read_bytes()
    (output / "a.png.labels.tif").write_bytes(b"")
    assert predict(model_files, images, output) == 0
    assert "2 of 3 images are done" in capsys.readouterr().out
    assert (output / "a.png.labels.tif").read_bytes() == whole


def test_what_was_corrected_by_hand_is_never_overwritten(model_files, images, tmp_path, capsys):
    output = tmp_path / "out"
    predict(model_files, images, output, "--format", "labels", "csv")
    labels, table = output / "a.png.labels.tif", output / "a.png.csv"
    for path in (output / "b.png.csv", output / "c.jpg.csv"):
        os.utime(path, (1, 1))  # a copy without times is no correction
    same_size = table.read_bytes().swapcase()
    for path, content in ((labels, b"corrected"), (table, same_size)):
        path.write_bytes(content)
    capsys.readouterr()
    # another format is made, and the same command has nothing to do
    for formats in (("labels", "csv", "coco"), ("labels", "csv")):
        assert predict(model_files, images, output, "--format", *formats) == 0
        assert (labels.read_bytes(), table.read_bytes()) == (b"corrected", same_size)
    assert (output / "a.png.coco.json").is_file()
    said = capsys.readouterr()
    assert "3 of 3 images are done" in said.out
    assert f"{table} and 1 more: changed since the run that wrote it, and kept" in said.out
    # nor where the image has changed too
    Image.fromarray(np.zeros((33, 44, 3), np.uint8)).save(images / "a.png")
    assert predict(model_files, images, output, "--format", "labels", "csv") == 1
    assert labels.read_bytes() == b"corrected"
    said = capsys.readouterr()
    assert "a.png.csv, which is not overwritten: move it" in said.err and "2 of 3" in said.out
    labels.unlink()
    table.unlink()
    assert predict(model_files, images, output, "--format", "labels", "csv") == 0
    assert tifffile.imread(labels).shape == (33, 44)


def test_an_output_that_is_empty_is_made_again(model_files, images, tmp_path, capsys):
    output = tmp_path / "out"
    predict(model_files, images, output)
    (output / "a.png.csv").write_bytes(b"")
    assert predict(model_files, images, output) == 0
    assert "2 of 3 images are done" in capsys.readouterr().out


def test_an_image_whose_name_is_too_long_is_named_and_left_out(
    model_files, images, tmp_path, capsys
):
    long = f"{'x' * 240}.png"
    (images / "a.png").rename(images / long)
    output = tmp_path / "out"
    for _ in range(2):
        assert predict(model_files, images, output) == 1
        said = capsys.readouterr()
        assert f"{long}: its name is too long: with the ending of an output it has 260" in said.err
        assert "2 of 3 images" in said.out
    assert not [path for path in output.rglob("*") if path.name.startswith("x")]


def test_one_run_at_a_time_in_a_folder(model_files, images, tmp_path):
    output = tmp_path / "out"
    with locked(output), pytest.raises(UserError, match="out is in use by process"):
        predict(model_files, images, output)
    (output / LOCK_FILE).touch()  # of a run that was killed before it wrote anything
    assert predict(model_files, images, output) == 0
    assert not (output / LOCK_FILE).exists()


def test_shards_share_the_images_and_a_folder(model_files, images, tmp_path, capsys):
    """Each image is in one shard; the same command without shard completes and collects."""
    whole, output = tmp_path / "whole", tmp_path / "out"
    assert predict(model_files, images, whole) == 0
    assert predict(model_files, images, output, "--shard", "1/2") == 0
    assert "2 of 2 images" in capsys.readouterr().out
    assert {path.name for path in output.glob("*.csv")} == {"a.png.csv", "c.jpg.csv"}
    assert predict(model_files, images, output, "--shard", "2/2") == 0
    assert not (output / run.COCO_FILE).exists()
    records = {"run_1_of_2.json", "run_2_of_2.json"}
    assert {path.name for path in output.glob("run*")} == records
    assert predict(model_files, images, output) == 0
    assert "3 of 3 images are done" in capsys.readouterr().out
    for file in whole.iterdir():
        if file.is_file() and file.name != RECORD_FILE:
            assert (output / file.name).read_bytes() == file.read_bytes(), file.name
    with pytest.raises(ConfigError, match=r"other settings \(overlap\)"):
        predict(model_files, images, output, "--shard", "1/2", "--overlap", "64")


def test_shards_of_one_job_run_at_the_same_time_and_nothing_else(model_files, images, tmp_path):
    output = tmp_path / "out"
    with locked(output, ".lock_1_of_2"):
        assert predict(model_files, images, output, "--shard", "2/2") == 0
        for words in ([], ["--shard", "1/2"], ["--shard", "3/3"]):
            with pytest.raises(UserError, match="out is in use by process"):
                predict(model_files, images, output, *words)
    with locked(output), pytest.raises(UserError, match="out is in use by process"):
        predict(model_files, images, output, "--shard", "2/2")
    # of an image that another shard may be writing nothing is removed; the run as a whole does
    (output / f"{PARTIAL}x").touch()
    assert predict(model_files, images, output, "--shard", "1/2") == 0
    assert (output / f"{PARTIAL}x").exists()
    assert predict(model_files, images, output) == 0
    assert not (output / f"{PARTIAL}x").exists()


def test_settings_of_shards_that_made_nothing_are_replaced(model_files, images, tmp_path):
    for path in images.iterdir():
        path.unlink()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(images / name, np.zeros((40, 40), dtype=np.uint16))
    output, limits = tmp_path / "out", ["--percentiles", "1", "99.8"]
    for words, status in (([], 1), (limits, 0)):
        for shard in ("1/2", "2/2"):
            assert predict(model_files, images, output, *words, "--shard", shard) == status
    assert predict(model_files, images, output, *limits, "--shard", "3/3") == 0  # none is left


@pytest.mark.parametrize("word", ["0/2", "3/2", "1", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_shard(word, capsys):
    with pytest.raises(SystemExit):
        cli.run("predict", ["x", "--output", "y", f"--shard={word}"])
    assert "is not K/N with K from 1 to N" in capsys.readouterr().err


TERMINATED = KILLED.replace("SIGKILL", "SIGTERM").replace(
    'cli.run("predict", sys.argv[1:])',
    'cli.main(["predict", *sys.argv[1:]])',
)


def test_sigterm_leaves_nothing_half_written(model_files, images, tmp_path):
    output = tmp_path / "out"
    words = [str(images), *model_files, "--output", str(output), "--format", "labels", "csv"]
    done = subprocess.run([sys.executable, "-c", TERMINATED, *words], capture_output=True)
    assert done.returncode == 143
    assert not list(output.rglob(f"{PARTIAL}*")) and not (output / LOCK_FILE).exists()


def test_a_folder_of_ome_zarr_is_an_image(model_files, images, tmp_path, capsys):
    zarr = pytest.importorskip("zarr", minversion="3.0")
    (images / "a.png").unlink()
    store = images / "a.ome.zarr"
    pixels = np.random.default_rng(0).integers(0, 256, (70, 50), dtype=np.uint8)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    datasets = [{"path": "0"}, {"path": "1"}]
    group = zarr.open_group(str(store), mode="w", zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    zarr.save_array(str(store / "0"), pixels, zarr_format=2)
    zarr.save_array(str(store / "1"), pixels[::2, ::2], zarr_format=2)
    (images / "bad.zarr").mkdir()
    output = tmp_path / "out"
    with pytest.raises(ConfigError, match="is in the folder of an image"):
        predict(model_files, images, store / "labels")
    assert predict(model_files, images, output) == 1
    assert "left out: " in (said := capsys.readouterr().err) and "bad.zarr is not Zarr" in said
    assert tifffile.imread(output / "a.ome.zarr.labels.tif").shape == (70, 50)
    labels = zarr.open_group(str(output / "a.ome.zarr.labels.ome.zarr"), mode="r")
    assert labels["labels/objects/1"].shape == (35, 25)
    (images / "bad.zarr").rmdir()
    assert predict(model_files, images, output) == 0
    assert "3 of 3 images are done" in capsys.readouterr().out
    zarr.open_array(str(store / "0"), mode="a")[:9] = 0  # a chunk changes, and no name
    predict(model_files, images, output)
    assert "2 of 3 images are done" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"other settings \(level\)"):
        predict(model_files, images, output, "--level", "1")
    assert predict(model_files, images, tmp_path / "half", "--level", "1") == 1
    assert "b.png is read at its full size: --level is for OME-Zarr" in capsys.readouterr().err
    assert tifffile.imread(tmp_path / "half" / "a.ome.zarr.labels.tif").shape == (35, 25)
