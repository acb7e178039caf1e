import argparse
import json
import os

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from PIL import Image

from maskrcnnpp import add_maskrcnnpp_config, cli
from maskrcnnpp.engine import build_config, run, setup
from maskrcnnpp.engine.setup import check_datasets, checked_config
from maskrcnnpp.errors import ConfigError, DataError

QUICK = "configs/quick/maskrcnnpp_R_18_nested_fpn.yaml"


def arguments(**kwargs):
    values = {"config_file": QUICK, "opts": [], "resume": False, "eval_only": False}
    return argparse.Namespace(**{**values, **kwargs})


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_device_is_what_is_there_and_the_config_wins(monkeypatch, there, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert build_config(QUICK).MODEL.DEVICE == device
    assert build_config(QUICK, ["MODEL.DEVICE", "meta"]).MODEL.DEVICE == "meta"


def test_runs_are_seeded_unless_asked_not_to_be():
    assert build_config(QUICK).SEED >= 0
    assert build_config(QUICK, ["SEED", "-1"]).SEED == -1


def test_mixed_precision_is_off_without_a_gpu():
    config = "configs/dsb2018/maskrcnnpp_R_50_nested_fpn.yaml"
    assert not build_config(config, ["MODEL.DEVICE", "cpu"]).SOLVER.AMP.ENABLED
    assert build_config(config, ["MODEL.DEVICE", "cuda"]).SOLVER.AMP.ENABLED


def test_adding_the_keys_changes_no_stock_value():
    cfg, stock = get_cfg(), get_cfg()
    add_maskrcnnpp_config(cfg)

    def check(ours, theirs, path):
        for key, value in theirs.items():
            if isinstance(value, type(theirs)):
                check(ours[key], value, f"{path}.{key}")
            else:
                assert ours[key] == value, f"{path}.{key}"

    check(cfg, stock, "")


@pytest.mark.parametrize(
    ("opts", "word"),
    [
        (["MODEL.NESTED_FPN.DEHPT", "2"], "DEHPT"),
        (["SOLVER.BASE_LR"], "KEY VALUE"),
        (["SOLVER.MAX_ITER", "many"], "command line"),
        (["MODEL.NESTED_FPN.DEPTH", "[1]"], "DEPTH"),
        (["SOLVER.STEPS", "('a','b')"], r"SOLVER.STEPS is \('a', 'b'\); it holds numbers"),
        (["MODEL.ANCHOR_GENERATOR.SIZES", "[['x']]"], "ANCHOR_GENERATOR.SIZES is .* holds numbers"),
        (["INPUT.MIN_SIZE_TRAIN", "('64',)"], "INPUT.MIN_SIZE_TRAIN is .* holds numbers"),
        (["MODEL.PIXEL_MEAN", "[None]"], "MODEL.PIXEL_MEAN is .* holds numbers"),
        (["MODEL.RPN.IN_FEATURES", "[2]"], "MODEL.RPN.IN_FEATURES is .* holds names"),
    ],
)
def test_bad_overrides(opts, word):
    with pytest.raises(ConfigError, match=word):
        build_config(QUICK, opts)


def test_bad_config_files(tmp_path):
    with pytest.raises(ConfigError, match="missing.yaml"):
        build_config(str(tmp_path / "missing.yaml"))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("MODEL:\n  NESTED_FPM:\n    DEPTH: 1\n", "NESTED_FPM"),
        ("MODEL: [unclosed", "bad.yaml"),
        ("", "bad.yaml"),
        ("- a\n- list\n", "bad.yaml"),
        ("_BASE_: bad.yaml\n", "_BASE_"),
        ("SEED: !!python/object/apply:os.getpid []\n", "bad.yaml.*python/object/apply"),
        ("SEED: 1\nMODEL:\n  MASK_ON: true\nSEED: 2\n", "SEED stands twice, in lines 1 and 4"),
        ("SOLVER: {MAX_ITER: 1, MAX_ITER: 2}", "MAX_ITER stands twice, in lines 1 and 1"),
        ("SOLVER:\n  GAMMA: 1\nSOLVER:\n  MAX_ITER: 2\n", "SOLVER stands twice"),
    ],
)
def test_bad_contents_of_a_config_file(tmp_path, text, word):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        build_config(str(path))


def test_a_key_that_stands_twice_in_a_base_is_found(tmp_path):
    (tmp_path / "base.yaml").write_text("SEED: 1\nSEED: 2\n")
    (tmp_path / "a.yaml").write_text("_BASE_: base.yaml\nSEED: 3\n")
    with pytest.raises(ConfigError, match="base.yaml: SEED stands twice"):
        build_config(str(tmp_path / "a.yaml"))
    (tmp_path / "a.yaml").write_text("SOLVER: {<<: {GAMMA: 0.5}, GAMMA: 0.25}\n")
    assert build_config(str(tmp_path / "a.yaml")).SOLVER.GAMMA == 0.25


@pytest.mark.parametrize(
    ("opts", "word"),
    [
        (["MODEL.DEVICE", "cuda"], "MODEL.DEVICE"),
        (["MODEL.DEVICE", "abacus"], "MODEL.DEVICE"),
        (["DATASETS.TRAIN", "('nobodys_data',)"], "DATASETS.TRAIN"),
        (["DATASETS.TEST", "('nobodys_data',)"], "DATASETS.TEST"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN"),
        (["MODEL.WEIGHTS", "nowhere.pth"], "nowhere.pth"),
        (["OUTPUT_DIR", "setup.py"], "OUTPUT_DIR"),
        (["INPUT.MASK_FORMAT", "polygon"], "INPUT.MASK_FORMAT"),
        (["TEST.AREA_BINS", "[96, 32]"], "TEST.AREA_BINS"),
        (["TEST.AREA_BINS", "[32]"], "TEST.AREA_BINS"),
        (["INPUT.PERCENTILES", "[1.0]"], "INPUT.PERCENTILES"),
        (["MODEL.KEYPOINT_ON", "True"], "MODEL.KEYPOINT_ON"),
        (["SOLVER.MAX_ITER", "-5"], "SOLVER.MAX_ITER is -5; it is at least 1"),
        (["SOLVER.IMS_PER_BATCH", "0"], "SOLVER.IMS_PER_BATCH is 0"),
        (["DATALOADER.NUM_WORKERS", "-1"], "DATALOADER.NUM_WORKERS is -1; 0 or more"),
        (["SOLVER.BASE_LR", "-.1"], "SOLVER.BASE_LR is -0.1"),
        (["SOLVER.WARMUP_ITERS", "-1"], "SOLVER.WARMUP_ITERS is -1"),
        (["SOLVER.STEPS", "(9,3)"], r"SOLVER.STEPS is \(9, 3\); they are rising iterations"),
    ],
)
def test_what_cannot_work_is_said_before_a_model_is_built(tiny_opts, tiny_nuclei, opts, word):
    MetadataCatalog.get(tiny_nuclei).set(mask_format="bitmask")
    with pytest.raises(ConfigError, match=word):
        checked_config(arguments(opts=[*tiny_opts, *opts]))


def test_more_processes_than_gpus():
    with pytest.raises(ConfigError, match="--num-gpus is 64"):
        cli.run("train", ["--config-file", QUICK, "--num-gpus", "64"])


def test_evaluation_needs_weights(tiny_opts):
    with pytest.raises(ConfigError, match="MODEL.WEIGHTS"):
        checked_config(arguments(eval_only=True, opts=tiny_opts))


def test_an_evaluation_too_is_told_that_stock_roi_heads_have_no_margin(tiny_opts):
    opts = ["MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_MASK_HEAD.BOX_MARGIN", "0.1"]
    with pytest.raises(ConfigError, match="StandardROIHeads, which does not read .*BOX_MARGIN"):
        checked_config(arguments(eval_only=True, opts=[*tiny_opts, *opts]))


def test_weights_that_are_no_checkpoint(tiny_opts, tmp_path):
    path = tmp_path / "holiday.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match="holiday.pth"):
        run(arguments(eval_only=True, opts=[*tiny_opts, "MODEL.WEIGHTS", str(path)]))


def test_an_unprepared_data_set_says_what_to_run(tmp_path, monkeypatch):
    config_file = os.path.abspath(QUICK)
    monkeypatch.chdir(tmp_path)  # where there is no datasets/
    with pytest.raises(DataError, match="maskrcnnpp prepare dsb2018"):
        setup(arguments(config_file=config_file))


def file_of_classes(folder, *names):
    """A COCO file of one image, whose classes have the ids 1, 2, ..."""
    (folder / "images").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "images" / "a.png")
    box = [10, 10, 20, 20]
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 64}],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(names)],
        "annotations": [
            {
                **{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": box},
                **{"area": 400, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]},
            }
        ],
    }
    path = folder / f"{'_'.join(names)}.json"
    path.write_text(json.dumps(truth))
    return path


def test_a_folder_of_another_training_is_not_overwritten(tiny_opts, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    (output / "log.txt").touch()
    checked_config(arguments(opts=tiny_opts))  # no training has come so far
    (output / "model_0000499.pth").touch()
    with pytest.raises(ConfigError, match="OUTPUT_DIR .*output holds a training.* --resume"):
        checked_config(arguments(opts=tiny_opts))
    checked_config(arguments(resume=True, opts=tiny_opts))
    checked_config(arguments(dry_run=True, opts=tiny_opts))


@pytest.mark.parametrize("eval_only", [False, True])
def test_classes_in_another_order_are_refused(tmp_path, caplog, eval_only):
    train = file_of_classes(tmp_path, "small", "large")

    def check(*names):
        other = file_of_classes(tmp_path, *names)
        opts = ["DATASETS.TRAIN", f"('{train}',)", "DATASETS.TEST", f"('{other}',)"]
        opts += ["MODEL.ROI_HEADS.NUM_CLASSES", str(len(names)), "INPUT.MASK_FORMAT", "polygon"]
        check_datasets(build_config(QUICK, opts), eval_only=eval_only)

    message = "small_large.json and .*json are in another order: {} is class {} of the former"
    with pytest.raises(ConfigError, match=message.format("'large'", 2)):
        check("large", "small")
    with pytest.raises(ConfigError, match=message.format("'large'", 2)):
        check("large", "huge")
    assert not caplog.records
    check("Small", "large")
    assert not caplog.records
    check("little", "big")
    assert "small, large" in caplog.text and "matched by their order" in caplog.text


def test_data_sets_that_are_trained_on_together_have_the_same_classes(tmp_path):
    files = [file_of_classes(tmp_path, name) for name in ("cell", "nucleus")]
    opts = ["DATASETS.TRAIN", f"('{files[0]}','{files[1]}')", "DATASETS.TEST", "()"]
    cfg = build_config(QUICK, [*opts, "INPUT.MASK_FORMAT", "polygon"])
    with pytest.raises(ConfigError, match="classes cell, but .* nucleus: .* the same names"):
        check_datasets(cfg)
