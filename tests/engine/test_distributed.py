"""Two processes on the CPU, started by torchrun."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog

CONFIG = "tests/files/configs/nested.yaml"
SCRIPT = Path(__file__).with_name("distributed_training.py")
TOO_LONG = 300  # seconds: a dead-lock


def run(processes, files, output, opts, what="nothing", *more):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={processes}", str(SCRIPT), what, *files]
    command += ["--config-file", CONFIG, *more, *opts, "OUTPUT_DIR", str(output)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TOO_LONG)
    if what == "nothing":
        assert ended.returncode == 0, ended.stderr[-3000:]
    return ended


def metrics(output):
    lines = Path(output, "metrics.json").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items()}


@pytest.fixture
def files(tiny_nuclei):
    metadata = MetadataCatalog.get(tiny_nuclei)
    return [metadata.json_file, metadata.image_root, tiny_nuclei]


@pytest.fixture
def opts(tiny_opts):
    more = {
        "SOLVER.MAX_ITER": 1,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.IMS_PER_BATCH": 4,
        "INPUT.CROP.ENABLED": False,
        # all anchors and proposals, so that none is drawn
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 100000,
        "MODEL.RPN.POSITIVE_FRACTION": 1.0,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 100000,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": 1.0,
        "TEST.LOSS": True,
    }
    return [*tiny_opts, *(str(word) for pair in more.items() for word in pair)]


def test_two_processes_learn_and_evaluate_what_one_does(opts, files, tmp_path):
    one, two = tmp_path / "1", tmp_path / "2"
    run(1, files, one, opts)
    run(2, files, two, opts)
    ours, theirs = metrics(one), metrics(two)
    for name in ours:
        if name.startswith("loss_rpn"):
            np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-5, err_msg=name)
        # means over proposals, of which the processes have not equally many
        elif "loss" in name or name == "gradient_norm":
            np.testing.assert_allclose(theirs[name], ours[name], rtol=0.05, err_msg=name)
    weights = ["MODEL.WEIGHTS", str(one / "model_final.pth")]
    run(2, files, tmp_path / "e", [*opts, *weights], "nothing", "--eval-only")
    found = [next(folder.rglob("coco_metrics.json")) for folder in (one, tmp_path / "e")]
    assert found[0].read_text() == found[1].read_text()


def test_an_image_without_objects_in_one_of_two(opts, files, tmp_path):
    truth = json.loads(Path(files[0]).read_text())
    kept = {image["id"] for image in truth["images"][::2]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in kept]
    half_empty = tmp_path / "half.json"
    half_empty.write_text(json.dumps(truth))
    more = ["DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False", "SOLVER.IMS_PER_BATCH", "2"]
    more += ["SOLVER.MAX_ITER", "6", "SOLVER.REFERENCE_WORLD_SIZE", "1", "SOLVER.STEPS", "()"]
    run(2, [str(half_empty), *files[1:]], tmp_path / "out", [*opts, *more])
    assert (tmp_path / "out" / "model_final.pth").is_file()
    # twice as many processes as the config is meant for: twice the rate, half of the iterations
    assert metrics(tmp_path / "out")["lr"] == pytest.approx(0.002)
    assert torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["iteration"] == 2


@pytest.mark.parametrize("what", ["error", "sigterm"])
def test_what_happens_in_one_process_ends_both(opts, files, tmp_path, what):
    ended = run(2, files, tmp_path / "out", [*opts, "SOLVER.MAX_ITER", "1000"], what)
    assert ended.returncode != 0
    if what == "error":
        assert "this rank fails" in ended.stderr
    else:
        assert "stopped by SIGTERM after iteration 1" in ended.stderr
        assert (tmp_path / "out" / "last_checkpoint").read_text() == "model_0000001.pth"
