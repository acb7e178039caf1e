"""One iteration: parts of a batch, precision, losses that are not finite."""

import json
import logging
import math
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from maskrcnnpp.engine import Trainer, build_config
from maskrcnnpp.engine.loss_guard import LossGuard
from maskrcnnpp.errors import ConfigError, DataError, DivergedError

CONFIG = "tests/files/configs/nested.yaml"


@pytest.fixture
def opts(tiny_opts):
    return [*tiny_opts, "SOLVER.MAX_ITER", "3", "DATASETS.TEST", "()"]


def trainer_of(opts, *more):
    cfg = build_config(CONFIG, [*opts, *map(str, more)])
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    return trainer


def gradients(trainer):
    trainer.data_loader.seek(0)
    trainer.max_iter = 1
    trainer.train()
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters()
            if p.grad is not None}  # fmt: skip


def test_parts_of_a_batch_give_the_mean_of_their_gradients(opts):
    # all proposals, so that none is drawn, and no norm of gradients to be clipped
    more = ["SOLVER.IMS_PER_BATCH", 2, "SOLVER.CLIP_GRADIENTS.ENABLED", False]
    more += ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", 100000, "MODEL.RPN.POSITIVE_FRACTION", 1.0]
    whole, parts = (gradients(trainer_of(opts, *more, "SOLVER.ACCUMULATE", n)) for n in (1, 2))
    name = "proposal_generator.rpn_head.objectness_logits.weight"
    torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-7)
    assert whole.keys() == parts.keys()


def test_parts_have_to_be_equal(opts):
    with pytest.raises(ConfigError, match="SOLVER.ACCUMULATE is 3.* the 2 images"):
        trainer_of(opts, "SOLVER.ACCUMULATE", 3)


def test_checkpointing_changes_no_gradient(opts):
    plain, less = (
        gradients(trainer_of(opts, "MODEL.NESTED_FPN.CHECKPOINTING", on)) for on in (False, True)
    )
    assert plain.keys() == less.keys()
    for name in plain:
        torch.testing.assert_close(less[name], plain[name], msg=name)
    with pytest.raises(ConfigError, match="CHECKPOINTING is True with MODEL.FPN.NORM BN"):
        trainer_of(opts, "MODEL.NESTED_FPN.CHECKPOINTING", True, "MODEL.FPN.NORM", "BN")


@pytest.mark.parametrize(
    "more",
    [
        ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"),
        ("MODEL.CHANNELS_LAST", True),
    ],
)
def test_other_ways_of_computing_train(opts, more):
    losses = []
    for options in ((), more):
        trainer = trainer_of(opts, *options)
        trainer.train()
        losses.append(trainer.storage.history("total_loss").values()[0][0])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_float16_needs_a_gpu_and_unknown_precisions_are_told(opts):
    assert not build_config(CONFIG, [*opts, "SOLVER.AMP.ENABLED", "True"]).SOLVER.AMP.ENABLED
    with pytest.raises(ConfigError, match="PRECISION is 'float8'; it can be float16 or bfloat16"):
        trainer_of(opts, "SOLVER.AMP.PRECISION", "float8")


class SpoiledImage(HookBase):
    """What is not a number at one iteration: features, as of a bad image, or the mask loss."""

    def __init__(self, what):
        self.what = what

    def before_step(self):
        model = self.trainer.model
        module = model.backbone if self.what == "boxes" else model.roi_heads.mask_head
        if self.trainer.iter == 1:
            self.handle = module.register_forward_hook(
                lambda _, __, found: {name: x * math.nan for name, x in found.items()}
            )
        elif self.trainer.iter == 2:
            self.handle.remove()


@pytest.mark.parametrize("what", ["boxes", "loss_mask"])
def test_a_loss_that_is_no_number_ends_the_training(opts, tmp_path, what):
    trainer = trainer_of(opts)
    trainer.register_hooks([SpoiledImage(what)])
    with pytest.raises(DivergedError, match="not finite or exploded at iteration 1 .*BASE_LR"):
        trainer.train()
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    found = json.loads((tmp_path / "output" / "bad_losses" / "iteration_0000001.json").read_text())
    assert found["losses"][what] == "nan" and len(found["images"]) == 2


def test_such_an_iteration_can_be_left_out(opts, tmp_path):
    trainer = trainer_of(opts, "SOLVER.BAD_LOSSES.SKIP", 1)
    trainer.register_hooks([SpoiledImage("boxes")])
    trainer.train()
    assert trainer.iter == 3 and all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert [i for _, i in trainer.storage.history("total_loss").values()] == [0, 2]


def test_an_explosion_is_measured_by_the_losses_before(tmp_path):
    guard = LossGuard(str(tmp_path), allowed=1, largest=10.0)
    for _ in range(19):
        guard.accept({"loss": 2.0})
    assert not guard.is_bad({"loss": 1e6})  # too few to tell
    guard.accept({"loss": 2.0})
    assert guard.is_bad({"loss": 20.1}) and not guard.is_bad({"loss": 19.9})
    assert guard.is_bad({"loss": 1.0, "other": math.inf})
    guard.leave_out(7, {"loss": 21.0}, [{"file_name": "a.png"}], is_here=True)
    again = LossGuard(str(tmp_path), allowed=1, largest=10.0)
    again.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert again.is_bad({"loss": 20.1})
    with pytest.raises(DivergedError, match="SKIP is how many iterations may be left out, 1 now"):
        again.leave_out(8, {"loss": 21.0}, [], is_here=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["SOLVER.EMA_DECAY", 1.0], "EMA_DECAY is 1.0; it is from 0 to below 1"),
        (["SOLVER.CHECKPOINTS_KEPT", -1], "CHECKPOINTS_KEPT is -1"),
        (["SOLVER.BAD_LOSSES.LARGEST", 0.5], "LARGEST is 0.5; it is more than 1"),
        (["MODEL.ROI_MASK_HEAD.BOX_MARGIN", -0.1], "BOX_MARGIN is -0.1"),
        (
            ["MODEL.ROI_MASK_HEAD.BOX_MARGIN", 0.1, "MODEL.ROI_HEADS.NAME", "StandardROIHeads"],
            "StandardROIHeads, which does not read MODEL.ROI_MASK_HEAD.BOX_MARGIN: set",
        ),
        (
            ["MODEL.ROI_MASK_HEAD.SCORE_MASKS", True, "MODEL.ROI_HEADS.NAME", "StandardROIHeads"],
            "StandardROIHeads, which does not read MODEL.ROI_MASK_HEAD.SCORE_MASKS",
        ),
        (
            ["MODEL.ROI_MASK_HEAD.BOX_MARGIN", 0.1, "MODEL.ROI_MASK_HEAD.POOLER_TYPE", ""],
            "POOLER_TYPE is empty, so that masks have no boxes: set it to ROIAlignV2",
        ),
        (["TEST.PATIENCE", 2], "PATIENCE is 2; it needs TEST.BEST_METRIC"),
        (["TEST.BEST_METRIC", "validation/total_loss"], "needs TEST.LOSS True"),
        (["TEST.BEST_METRIC", "segm/AP"], "DATASETS.TEST is empty"),
        (["DATALOADER.SAMPLER_TRAIN", "Dice"], "SAMPLER_TRAIN is 'Dice'; it can be"),
    ],
)
def test_keys_that_cannot_be_are_told_before_training(opts, more, message):
    with pytest.raises(ConfigError, match=message):
        trainer_of(opts, *more)


def test_a_batch_can_be_larger_than_the_data_set(opts, caplog):
    """As with Detectron2's loader: few images give many crops."""
    caplog.set_level(logging.INFO, "maskrcnnpp")
    trainer = trainer_of(opts, "SOLVER.IMS_PER_BATCH", 9)
    batch = next(iter(trainer.data_loader))
    assert len(batch) == 9 and len({item["file_name"] for item in batch}) <= 8
    assert "several times: SOLVER.IMS_PER_BATCH is 9, and there are 8" in caplog.text


def test_images_without_objects_that_are_not_trained_on_are_told(
    opts, tiny_nuclei, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "maskrcnnpp")
    metadata = MetadataCatalog.get(tiny_nuclei)
    truth = json.loads(Path(metadata.json_file).read_text())
    first = truth["images"][0]["id"]
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] != first]
    (tmp_path / "some.json").write_text(json.dumps(truth))
    register_coco_instances("some_for_tests", {}, str(tmp_path / "some.json"), metadata.image_root)
    more = ["DATASETS.TRAIN", "('some_for_tests',)", "DATALOADER.FILTER_EMPTY_ANNOTATIONS"]
    try:
        for filtered, count in ((True, 7), (False, 8)):
            caplog.clear()
            assert trainer_of(opts, *more, filtered).data_loader.image_count == count
            said = "1 of 8 images have no object, or crowds alone, and are left out" in caplog.text
            assert said == filtered
    finally:
        DatasetCatalog.remove("some_for_tests")
        MetadataCatalog.remove("some_for_tests")


def test_no_image_to_train_on_is_told(opts, tiny_nuclei, tmp_path):
    truth = json.loads(Path(MetadataCatalog.get(tiny_nuclei).json_file).read_text())
    truth["annotations"] = []
    (tmp_path / "none.json").write_text(json.dumps(truth))
    register_coco_instances("none_for_tests", {}, str(tmp_path / "none.json"), str(tmp_path))
    try:
        with pytest.raises(DataError, match="none_for_tests of DATASETS.TRAIN: no image has an"):
            trainer_of(opts, "DATASETS.TRAIN", "('none_for_tests',)")
    finally:
        DatasetCatalog.remove("none_for_tests")
        MetadataCatalog.remove("none_for_tests")
