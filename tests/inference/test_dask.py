"""maskrcnnpp predict --dask, on clusters of this machine, whose workers start without PyTorch."""

import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import tifffile
from PIL import Image

from maskrcnnpp import cli
from maskrcnnpp.errors import ConfigError, UserError
from maskrcnnpp.files import PARTIAL
from maskrcnnpp.inference.record import RECORD_FILE

dask = pytest.importorskip("distributed")
on_cluster = pytest.importorskip("maskrcnnpp.inference.distributed")


@pytest.fixture
def predict(tmp_path):
    """``predict(output, *words)`` on three small images, a broken one, and one of many tiles."""
    images = tmp_path / "images"
    images.mkdir()
    generator = np.random.default_rng(0)
    for name, side in (("a.png", 64), ("b.png", 50), ("c.png", 40), ("large.png", 200)):
        pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / name)
    (images / "broken.png").write_text("no image")

    def run(output, *words):
        options = ["--backend", "onnx", "--diameter", "20", "--score", "0.01"]
        options += ["--tile-size", "64", "--overlap", "16", "--format", "labels", "csv", "coco"]
        return cli.run("predict", [str(images), "--output", str(output), *options, *words])

    return run


def die_once(flag, inner, *args):
    """Call a function; the first of all processes is killed instead."""
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return inner(*args)
    os.kill(os.getpid(), signal.SIGKILL)


def die_soon(folder):
    """On a worker: one is killed while it predicts a tile, another before an output is whole."""
    os.replace = partial(die_once, f"{folder}/writing", os.replace)
    name = "_predict_tiles"
    setattr(on_cluster, name, partial(die_once, f"{folder}/tile", getattr(on_cluster, name)))


def test_killed_workers_lose_nothing(predict, tmp_path, capsys):
    """The files are those of one process, byte by byte, and each worker has loaded one model."""
    one, many, flags = (tmp_path / name for name in ("one", "many", "flags"))
    flags.mkdir()
    assert predict(one) == 1
    assert (one / "large.png.csv").read_text().count("\n") > 1  # there are objects to lose
    capsys.readouterr()
    with (
        dask.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster,
        dask.Client(cluster, set_as_default=False) as client,
    ):
        client.run(die_soon, str(flags))
        assert predict(many, "--dask", cluster.scheduler_address) == 1
        loads = client.run(lambda: on_cluster._predictor.cache_info().misses)
    assert {path.name for path in flags.iterdir()} == {"tile", "writing"}
    assert set(loads.values()) <= {0, 1} and any(loads.values())
    said = capsys.readouterr()
    assert said.err.count("left out: ") == 1 and "broken.png cannot be read" in said.err
    assert "4 of 5 images" in said.out
    assert not list(many.rglob(f"{PARTIAL}*"))
    files = {path.name for path in one.iterdir() if path.is_file()}
    assert files == {path.name for path in many.iterdir() if path.is_file()}
    for name in files - {RECORD_FILE}:
        assert (one / name).read_bytes() == (many / name).read_bytes(), name


IN_PROCESS = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
CLUSTER = f"""
import sys, distributed
if __name__ == "__main__":
    with distributed.LocalCluster(n_workers=2, **{IN_PROCESS}) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def test_a_scheduler_that_goes_away(predict, tmp_path, monkeypatch, capsys):
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    inner = dask.as_completed

    def killed(futures, **more):
        process.kill()
        process.wait()
        return inner(futures, **more)

    monkeypatch.setattr(dask, "as_completed", killed)
    monkeypatch.setattr(on_cluster, "_SECONDS", 20)
    output = tmp_path / "out"
    with pytest.raises(UserError, match="scheduler has gone away.*run the same command"):
        predict(output, "--dask", process.stdout.readline().strip())
    monkeypatch.setattr(dask, "as_completed", inner)
    assert (output / "large.png.csv").is_file() and not list(output.rglob(f"{PARTIAL}*"))
    capsys.readouterr()
    assert predict(output) == 1
    assert "4 of 5 images" in capsys.readouterr().out
    process.communicate()


def test_schedulers_that_cannot_be_used(predict, tmp_path, monkeypatch):
    output = tmp_path / "out"
    for word in ("local:0", "local", "nowhere.json", "10.0.0.1"):
        with pytest.raises(ConfigError, match="neither an address"):
            predict(output, "--dask", word)
    assert not output.exists()
    monkeypatch.setattr(on_cluster, "_SECONDS", 1)
    with pytest.raises(UserError, match="no scheduler answers"):
        predict(output, "--dask", "tcp://127.0.0.1:1")
    (tmp_path / "scheduler.json").write_text("{}")
    with pytest.raises(UserError, match="no scheduler answers"):
        predict(output, "--dask", str(tmp_path / "scheduler.json"))
    with (
        dask.LocalCluster(n_workers=0, **IN_PROCESS) as cluster,
        pytest.raises(UserError, match="has no worker"),
    ):
        predict(output, "--dask", cluster.scheduler_address)
    with pytest.raises(SystemExit):
        predict(output, "--dask", "local:2", "--num-gpus", "2")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"torch": "2.6"}, "has another torch than the machine"),
        (
            FileNotFoundError(2, "No such file"),
            "cannot read nuclei, as the machine .* does: .*No such file",
        ),
    ],
)
def test_workers_of_another_environment(predict, tmp_path, monkeypatch, there, message):
    here = [{"torch": "2.9"}]

    def versions(weights):
        if here:
            return here.pop()
        if isinstance(there, OSError):
            raise there
        return there

    monkeypatch.setattr(on_cluster, "_versions", versions)
    on_cluster._predictor.cache_clear()
    with (
        dask.LocalCluster(n_workers=1, **IN_PROCESS) as cluster,
        pytest.raises(ConfigError, match=message),
    ):
        predict(tmp_path / "out", "--dask", cluster.scheduler_address)


def test_a_stack_is_predicted_by_one_worker(predict, tmp_path, capsys):
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 100, 90, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "images" / "z.tif", pixels, photometric="rgb")
    words = ["--planes", "all", "--stitch", "0.3", "--format", "labels", "csv", "overlay"]
    assert predict(tmp_path / "one", *words) == 0
    with dask.LocalCluster(n_workers=1, **IN_PROCESS) as cluster:
        assert predict(tmp_path / "many", *words, "--dask", cluster.scheduler_address) == 0
    for name in ("z.tif.labels.tif", "z.tif.csv", "z.tif.overlay/plane0001.overlay.png"):
        one, many = ((tmp_path / folder / name).read_bytes() for folder in ("one", "many"))
        assert one == many, name
