"""tools/benchmark.py as a user runs it, on a few tiny images."""

import json
import os
import subprocess
import sys

import pytest

from maskrcnnpp.data.coco import CocoDatasetWriter
from maskrcnnpp.data.synthetic import synthetic_samples

OPTS = """DATASETS.TRAIN ('synthetic_nuclei_train',) DATASETS.TEST ('synthetic_nuclei_val',)
MODEL.DEVICE cpu SOLVER.MAX_ITER 2 SOLVER.IMS_PER_BATCH 1 INPUT.CROP.SIZE [64,64]
TEST.DETECTIONS_PER_IMAGE 10""".split()


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    samples = list(synthetic_samples(4, height=64, width=64, count=(3, 6), seed=0))
    names = [sample.name for sample in samples]
    with CocoDatasetWriter(root / "synthetic_nuclei", info={}) as writer:
        for sample in samples:
            writer.add(sample)
        writer.commit({"train": names[:2], "val": names[2:3], "test": names[3:]})
    return root


def benchmark(datasets, *words):
    return subprocess.run(
        [sys.executable, "tools/benchmark.py", *map(str, words)],
        env={**os.environ, "DETECTRON2_DATASETS": str(datasets), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )


def test_what_finished_is_kept_and_nothing_foreign_is_mixed_in(datasets, tmp_path):
    words = ["--config-file", "configs/quick/mask_rcnn_R_18_FPN.yaml", "--output-dir", tmp_path]
    words += ["--seeds", 3, "--opts", *OPTS]

    first = benchmark(datasets, *words)
    assert first.returncode == 0, first.stderr
    assert "finished" in first.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    (trial,) = results["trials"]
    assert trial["seed"] == 3 and trial["arm"] == "mask_rcnn_R_18_FPN"
    assert set(trial["metrics"]) == {"synthetic_nuclei_val"}
    written = (tmp_path / "report.md").read_text()

    again = benchmark(datasets, *words)
    assert again.returncode == 0 and "finished" not in again.stdout
    assert (tmp_path / "report.md").read_text() == written

    other = benchmark(datasets, *words, "SOLVER.BASE_LR", "0.001")
    assert other.returncode == 2
    assert "other config" in other.stderr and "Traceback" not in other.stderr


def test_an_arm_that_dies_is_named_and_the_exit_status_tells(datasets, tmp_path):
    words = ["--config-file", "configs/quick/mask_rcnn_R_18_FPN.yaml", "--output-dir", tmp_path]
    # passes every check of the config, and fails when the model is built
    result = benchmark(
        datasets, *words, "--seeds", 0, "--opts", *OPTS, "MODEL.ROI_HEADS.NAME", "Nowhere"
    )
    assert result.returncode != 0
    assert "mask_rcnn_R_18_FPN, seed 0" in result.stderr + result.stdout
    assert "Nowhere" in (tmp_path / "mask_rcnn_R_18_FPN" / "seed0" / "output.log").read_text()


def test_bad_arguments(datasets, tmp_path):
    unknown = benchmark(datasets, "--config-file", "no.yaml", "--output-dir", tmp_path)
    assert unknown.returncode == 2 and "no.yaml" in unknown.stderr
    empty = benchmark(datasets, "--report-only", "--output-dir", tmp_path)
    assert empty.returncode == 2 and "results.json" in empty.stderr
