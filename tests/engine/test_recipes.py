"""Configs of configs/recipes, and a handful of images of one's own."""

import subprocess
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.utils.env import seed_all_rng

from maskrcnnpp.convert.coco_dataset import CocoDatasetWriter
from maskrcnnpp.convert.synthetic import synthetic_samples
from maskrcnnpp.engine import Trainer, build_config

RECIPES = sorted(Path("configs/recipes").glob("*.yaml"))
QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"
FINE_TUNING = "configs/recipes/finetune_R_18.yaml"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_build(path, tiny_opts):
    cfg = build_config(str(path), [*tiny_opts, "MODEL.WEIGHTS", "", "INPUT.CROP.SIZE", "[64, 64]"])
    trainer = Trainer(cfg)
    assert trainer.max_iter == cfg.SOLVER.MAX_ITER > max(cfg.SOLVER.STEPS)


def test_the_slurm_script_is_a_script():
    subprocess.run(["bash", "-n", "docs/slurm/train.sbatch"], check=True)


@pytest.fixture
def sets(tmp_path):
    """Names of data sets: many images to begin with, ten of one's own, and some to be judged by."""
    names = []
    for name, count, seed in (("many", 24, 1), ("own", 10, 2), ("judge", 12, 3)):
        samples = list(synthetic_samples(count, height=64, width=64, count=(3, 6), seed=seed,
                                         prefix=name))  # fmt: skip
        with CocoDatasetWriter(tmp_path / name, info={}) as writer:
            for sample in samples:
                writer.add(sample)
            writer.commit({"train": [sample.name for sample in samples]})
        truth = tmp_path / name / "annotations" / "instances_train.json"
        names.append(f"recipes_{name}")
        register_coco_instances(names[-1], {}, str(truth), str(tmp_path / name / "images"))
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_ten_images_do_better_with_a_trained_model_than_from_scratch(sets, tiny_opts, tmp_path):
    many, own, judge = sets
    common = [*tiny_opts, "DATASETS.TEST", f"('{judge}',)", "TEST.LOSS", "True"]
    common += ["MODEL.BACKBONE.NAME", "build_nested_fpn_backbone"]  # of a small encoder
    common += ["MODEL.NESTED_FPN.ENCODER", "build_timm_backbone"]
    common += ["MODEL.TIMM.NAME", "test_efficientnet_gn"]

    def loss_of(config, data, folder, *more):
        opts = [*common, "DATASETS.TRAIN", f"('{data}',)", "OUTPUT_DIR", str(tmp_path / folder)]
        cfg = build_config(config, [*opts, *map(str, more)])
        seed_all_rng(cfg.SEED)
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()
        return trainer.storage.latest()["validation/total_loss"][0]

    loss_of(QUICK, many, "many", "SOLVER.MAX_ITER", 60, "SOLVER.WARMUP_ITERS", 5)
    few = ["SOLVER.MAX_ITER", 20, "SOLVER.STEPS", "(15,)", "SOLVER.WARMUP_ITERS", 3]
    weights = ["MODEL.WEIGHTS", tmp_path / "many" / "model_final.pth"]
    tuned = loss_of(FINE_TUNING, own, "tuned", *few, *weights, "TEST.EVAL_PERIOD", 0)
    scratch = loss_of(QUICK, own, "scratch", *few)
    assert tuned < 0.9 * scratch
