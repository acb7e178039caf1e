import shlex
from pathlib import Path

import detectron2
import pytest
from detectron2.modeling import build_model
from made_up import cells, script

from maskrcnnpp.benchmark.fingerprint import config_fingerprint
from maskrcnnpp.benchmark.results import RESULTS_FILE, load
from maskrcnnpp.engine import build_config

model_zoo = script("model_zoo")

#: What an arm may change: the pyramid, and how the mask head reads it and learns.
COMPARED = ("MODEL.BACKBONE.NAME", "MODEL.FPN", "MODEL.NESTED_FPN", "MODEL.ROI_HEADS.NAME")
MASK_HEAD = ("NAME", "DEEP_SUPERVISION")
RUN = [section for section in model_zoo.SECTIONS if (section.folder / RESULTS_FILE).is_file()]
ARMS = sorted(str(path) for path in Path("configs/benchmark/lite0").glob("*"))
STOCK = "configs/cpu/mask_rcnn_lite0_FPN.yaml"
#: What the control of enlarged images changes instead.
ENLARGED = ("INPUT.SCALE", "INPUT.CROP.SIZE", "MODEL.ANCHOR_GENERATOR.SIZES")


def without_what_is_compared(config_file, keys):
    cfg = build_config(config_file)
    cfg.defrost()
    for key in keys:
        *path, last = key.split(".")
        node = cfg
        for name in path:
            node = node[name]
        del node[last]
    cfg.OUTPUT_DIR = ""
    cfg.TEST.EXPECTED_RESULTS = []
    return cfg


def parameters(config_file):
    model = build_model(build_config(config_file, ["MODEL.DEVICE", "cpu"]))
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_page_is_what_the_results_give():
    assert model_zoo.PAGE.read_text() == model_zoo.page()


@pytest.mark.parametrize("config_file", ARMS)
def test_arms_differ_from_stock_only_in_what_is_compared(config_file):
    keys = (*COMPARED, *(f"MODEL.ROI_MASK_HEAD.{name}" for name in MASK_HEAD))
    if "twofold" in config_file:
        keys = ENLARGED
    assert without_what_is_compared(config_file, keys) == without_what_is_compared(STOCK, keys)


def test_every_arm_has_a_row():
    assert set(ARMS) < set(model_zoo.SECTIONS[0].config_files)


def test_the_wide_control_has_the_parameters_of_ours():
    wide = parameters("configs/benchmark/lite0/mask_rcnn_wide.yaml")
    assert wide / parameters(model_zoo.SECTIONS[0].config_files[-1]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("section", RUN, ids=lambda section: section.title)
def test_results_are_of_the_configs_they_are_shown_with(section):
    results = load(section.folder / RESULTS_FILE)
    words = shlex.split(results["command"])
    opts = words[words.index("--opts") + 1 :] if "--opts" in words else []
    for trial in results["trials"]:
        if "external" in trial or trial["versions"]["detectron2"] != detectron2.__version__:
            continue  # another Detectron2 has other keys
        device = "cpu" if trial["machine"]["gpu"] == "none" else "cuda"
        fixed = ["SEED", str(trial["seed"]), "TEST.EXPECTED_RESULTS", "[]", "MODEL.DEVICE", device]
        cfg = build_config(trial["config_file"], [*opts, *fixed])
        if cfg.MODEL.WEIGHTS.startswith("/") and not Path(cfg.MODEL.WEIGHTS).is_file():
            continue  # weights that lay on that machine; they count by their content
        assert config_fingerprint(cfg) == trial["fingerprint"]["config"], trial["config_file"]


def test_a_zoo_has_empty_cells_for_what_was_not_run(results):
    configs = ["configs/stock.yaml", "configs/ours.yaml", "configs/later.yaml"]
    table = model_zoo.zoo_table(results, configs)
    assert cells(table, "ours")[:3] == ["3", "45.0 (2.6)", "45.0 (2.6)"]
    assert cells(table, "ours")[-3:] == ["1.50", "1.50", "1.50"]
    assert not any(cells(table, "later"))
    assert cells(table, "wide")[1] == "42.2 (1.8)"  # scored, though not of these configs
    assert not any(cells(model_zoo.zoo_table(None, configs), "ours"))


def test_a_zoo_says_what_failed(results):
    configs = ["configs/stock.yaml", "configs/ours.yaml", "configs/later.yaml"]
    results["failed"] = {
        "ours, seed 3": "diverged",
        "later, seed 0": "died",
        "later, seed 1": "died",
    }
    table = model_zoo.zoo_table(results, configs)
    assert cells(table, "ours")[0] == "3 (1 failed)"
    assert cells(table, "later")[0] == "(2 failed)" and not any(cells(table, "later")[1:])
