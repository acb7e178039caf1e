import json
import os
from pathlib import Path

import detectron2
import numpy as np
import pytest
import torch
from detectron2.engine import default_argument_parser
from detectron2.utils.env import seed_all_rng

from maskrcnnpp.engine import Trainer
from maskrcnnpp.engine.main import run

QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"
STOCK = Path(detectron2.__file__).parent / "model_zoo" / "configs"


def train_net(*words):
    return run(default_argument_parser().parse_args(words))


def scalars(output_dir, name):
    lines = Path(output_dir, "metrics.json").read_text().splitlines()
    return {e["iteration"]: e[name] for e in map(json.loads, lines) if name in e}


def test_twenty_iterations_lower_the_loss(tiny_cfg):
    tiny_cfg.SOLVER.MAX_ITER = 20
    tiny_cfg.SOLVER.WARMUP_ITERS = 3
    tiny_cfg.DATASETS.TEST = ()
    seed_all_rng(tiny_cfg.SEED)
    trainer = Trainer(tiny_cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    assert len(losses) == 20
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_train_evaluate_and_resume(tiny_opts, tmp_path):
    output = tmp_path / "output"
    common = ["--config-file", QUICK]

    train_net(*common, *tiny_opts, "SOLVER.MAX_ITER", "3")
    weights = output / "model_final.pth"
    files = list(output.glob("inference/*/coco_metrics.json"))
    assert weights.is_file() and len(files) == 1

    results = train_net(*common, "--eval-only", *tiny_opts, "MODEL.WEIGHTS", str(weights))
    written = json.loads(files[0].read_text())
    assert set(results) == {"bbox", "segm"}
    assert written["segm"]["AP"] == pytest.approx(results["segm"]["AP"])
    assert written["max_dets"] == 20

    train_net(*common, "--resume", *tiny_opts, "SOLVER.MAX_ITER", "5")
    checkpoint = torch.load(weights, weights_only=True)
    assert checkpoint["iteration"] == 4


def test_the_same_seed_trains_the_same_weights(tiny_opts, tmp_path):
    states = []
    for name in ("a", "b"):
        opts = [*tiny_opts, "OUTPUT_DIR", str(tmp_path / name), "SOLVER.MAX_ITER", "2"]
        train_net("--config-file", QUICK, *opts, "DATASETS.TEST", "()")
        states.append(torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.skipif(not STOCK.is_dir(), reason="this Detectron2 ships no configs")
def test_a_stock_config_of_detectron2_trains(tiny_opts, tmp_path):
    config = STOCK / "COCO-InstanceSegmentation" / "mask_rcnn_R_50_FPN_1x.yaml"
    opts = ["MODEL.WEIGHTS", "", "INPUT.MASK_FORMAT", "bitmask", "SOLVER.MAX_ITER", "2"]
    opts += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64"]
    opts += ["MODEL.ROI_HEADS.NUM_CLASSES", "1"]
    results = train_net("--config-file", str(config), *tiny_opts, *opts)
    assert os.path.isfile(tmp_path / "output" / "model_final.pth")
    assert set(scalars(tmp_path / "output", "loss_mask"))
    assert results is None or set(results) == {"bbox", "segm"}
