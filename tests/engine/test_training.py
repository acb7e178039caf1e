import json
import os
from pathlib import Path

import detectron2
import numpy as np
import pytest
import torch
from detectron2.engine import default_argument_parser
from detectron2.utils.env import seed_all_rng

from maskrcnnpp.engine import Trainer, build_config, run
from maskrcnnpp.errors import ConfigError

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


def test_optimizers(tiny_cfg):
    model = torch.nn.Linear(2, 2)
    assert isinstance(Trainer.build_optimizer(tiny_cfg, model), torch.optim.Optimizer)
    for name, kind in (("SGD", torch.optim.SGD), ("AdamW", torch.optim.AdamW)):
        tiny_cfg.SOLVER.OPTIMIZER = name
        optimizer = Trainer.build_optimizer(tiny_cfg, model)
        assert isinstance(optimizer, kind)
        assert optimizer.param_groups[0]["lr"] == tiny_cfg.SOLVER.BASE_LR
    tiny_cfg.SOLVER.OPTIMIZER = "AdamW"
    tiny_cfg.SOLVER.AMP.ENABLED = True
    optimizer = Trainer.build_optimizer(tiny_cfg, model)
    # GradScaler hands such an optimizer gradients that are still scaled, to be clipped like that
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)
    tiny_cfg.SOLVER.OPTIMIZER = "adam"
    with pytest.raises(ConfigError, match="SOLVER.OPTIMIZER"):
        Trainer.build_optimizer(tiny_cfg, model)


def test_train_evaluate_and_resume(tiny_opts, tmp_path):
    output = tmp_path / "output"
    common = ["--config-file", QUICK]

    trained = train_net(*common, *tiny_opts, "SOLVER.MAX_ITER", "3")
    weights = output / "model_final.pth"
    files = list(output.glob("inference/*/coco_metrics.json"))
    assert weights.is_file() and len(files) == 1

    results = train_net(*common, "--eval-only", *tiny_opts, "MODEL.WEIGHTS", str(weights))
    written = json.loads(files[0].read_text())
    assert set(results) == {"bbox", "segm"}
    assert trained["segm"]["AP"] == pytest.approx(results["segm"]["AP"])
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


def test_both_arms_see_the_same_images_with_worker_processes(tiny_opts):
    batches = []
    for config in ("mask_rcnn_R_18_FPN", "maskrcnnpp_R_18_nested_fpn"):
        cfg = build_config(f"configs/quick/{config}.yaml", tiny_opts)
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 2
        seed_all_rng(cfg.SEED)
        Trainer.build_model(cfg)  # draws a number of weights of its own
        loader = iter(Trainer.build_train_loader(cfg))
        batches.append([next(loader) for _ in range(3)])
    for ours, theirs in zip(*batches):
        for a, b in zip(ours, theirs):
            assert a["file_name"] == b["file_name"]
            assert torch.equal(a["image"], b["image"])


@pytest.mark.skipif(not STOCK.is_dir(), reason="this Detectron2 ships no configs")
def test_a_stock_config_of_detectron2_trains(tiny_opts, tmp_path):
    config = STOCK / "COCO-InstanceSegmentation" / "mask_rcnn_R_50_FPN_1x.yaml"
    opts = ["MODEL.WEIGHTS", "", "INPUT.MASK_FORMAT", "bitmask", "SOLVER.MAX_ITER", "2"]
    opts += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64"]
    opts += ["MODEL.ROI_HEADS.NUM_CLASSES", "1"]
    results = train_net("--config-file", str(config), *tiny_opts, *opts)
    assert os.path.isfile(tmp_path / "output" / "model_final.pth")
    assert set(scalars(tmp_path / "output", "loss_mask")) == {1}
    assert set(results) == {"bbox", "segm"}
